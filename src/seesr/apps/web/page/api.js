// Talks to the server: photos up, a job's changes down.

async function answer(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  let error = { kind: "broken", message: `The server answered ${response.status}.` };
  try { error = (await response.json()).error ?? error; } catch { /* no JSON: a proxy's page */ }
  throw Object.assign(new Error(error.message), { kind: error.kind, retryAfter: Number(response.headers.get("Retry-After")) || 0 });
}

async function send(path, options) {
  let response;
  try { response = await fetch(path, options); } catch { throw Object.assign(new Error("The server cannot be reached."), { kind: "unreachable" }); }
  return answer(response);
}

export const describeSettings = () => send("/v1/settings");

export function submit(file, settings) {
  const form = new FormData();
  form.append("photo", file, file.name || "photo");
  form.append("settings", JSON.stringify(settings));
  return send("/v1/jobs", { method: "POST", body: form });
}

export const cancel = id => send(`/v1/jobs/${id}/cancel`, { method: "POST" });
export const remove = id => send(`/v1/jobs/${id}`, { method: "DELETE" }).catch(() => null);

// Calls `changed(status)` for every change until the job has ended; resolves with its last status.
export function watch(id, changed) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(`/v1/jobs/${id}/events`);
    let failures = 0;
    events.onmessage = event => {
      failures = 0;
      const status = JSON.parse(event.data);
      changed(status);
      if (["done", "failed", "cancelled"].includes(status.state)) { events.close(); resolve(status); }
    };
    events.onerror = async () => {  // the browser tries again by itself; give up where the job is gone
      if (++failures < 3) return;
      events.close();
      try {
        const status = await send(`/v1/jobs/${id}`);
        changed(status);
        if (["done", "failed", "cancelled"].includes(status.state)) resolve(status); else resolve(watch(id, changed));
      } catch (error) { reject(error); }
    };
  });
}

export const picture = (id, which) => `/v1/jobs/${id}/${which}.webp`;
export const result = (id, format) => `/v1/jobs/${id}/result?format=${format}`;
export const zip = (ids, format) => `/v1/zip?jobs=${ids.join(",")}&format=${format}`;
