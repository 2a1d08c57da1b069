# avih without a graphics card: servers, command line, jobs, Dask scheduler. From the project's folder:
#   docker build -f docker/cpu.Dockerfile -t avih .
# PyTorch's default build brings CUDA along; --build-arg TORCH_INDEX=ADDRESS takes a smaller one from another index.
FROM python:3.12-slim-bookworm AS build
ARG TORCH_INDEX=""
WORKDIR /src
RUN python -m venv /opt/avih
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY avih avih
COPY flows flows
COPY tasks tasks
COPY data data
RUN if [ -n "$TORCH_INDEX" ]; then \
      /opt/avih/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision; \
    fi \
 && /opt/avih/bin/pip install --no-cache-dir --constraint constraints.txt '.[dask,s3]'

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --create-home avih && install -d -o avih -g avih -m 0700 /srv/avih
COPY --from=build /opt/avih /opt/avih
COPY prefect.yaml /home/avih/prefect.yaml
ENV PATH=/opt/avih/bin:$PATH AVIH_STORE=/srv/avih AVIH_KEY_FILE=/run/secrets/avih AVIH_DEVICE=cpu
USER 10001
WORKDIR /home/avih
VOLUME /srv/avih
ENTRYPOINT ["avih"]
CMD ["--help"]
