# The page and the HTTP API in a container.
#   docker build -t seesr .                                              for processors
#   docker build -t seesr --build-arg TORCH=https://download.pytorch.org/whl/cu128 .     for NVIDIA cards
#   docker run --rm -p 127.0.0.1:7860:7860 seesr
FROM python:3.12-slim
ARG TORCH=https://download.pytorch.org/whl/cpu
RUN useradd --create-home seesr
WORKDIR /seesr
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip install --no-cache-dir --index-url "$TORCH" torch \
 && pip install --no-cache-dir '.[web]'
USER seesr
ENV SEESR_CACHE=/home/seesr/models
VOLUME /home/seesr/models
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"
ENTRYPOINT ["seesr", "web", "--host", "0.0.0.0", "--no-browser"]
