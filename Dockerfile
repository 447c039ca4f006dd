# The page and the HTTP API in a container.
#   docker build -t seesr .
#   docker run --rm -p 127.0.0.1:7860:7860 seesr
# The default build of PyTorch serves NVIDIA cards (docker run --gpus all) and processors alike, and is large. A build for
# processors alone is much smaller: give the address of PyTorch's own index for them as --build-arg TORCH_INDEX=...
FROM python:3.12-slim
ARG TORCH_INDEX=""
RUN useradd --create-home seesr
WORKDIR /seesr
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
 && pip install --no-cache-dir '.[web]'
USER seesr
ENV SEESR_CACHE=/home/seesr/models
VOLUME /home/seesr/models
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"
ENTRYPOINT ["seesr", "web", "--host", "0.0.0.0", "--no-browser"]
