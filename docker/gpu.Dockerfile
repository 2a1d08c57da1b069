# A worker with a graphics card (NVIDIA, with its container toolkit on the host). From the project's folder:
#   docker build -f docker/gpu.Dockerfile -t avih-gpu .
#   docker run --gpus all ... avih-gpu dask worker tcp://SCHEDULER:8786 --host THIS_MACHINE --gpu 0 --resource GPU=1
# PyTorch's default build brings the CUDA libraries; the driver is the host's.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/avih
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY avih avih
COPY flows flows
COPY tasks tasks
COPY data data
RUN /opt/avih/bin/pip install --no-cache-dir --constraint constraints.txt '.[dask,s3]'

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --create-home avih && install -d -o avih -g avih -m 0700 /srv/avih
COPY --from=build /opt/avih /opt/avih
# A card that does not work shall be an error, not a slow processor.
ENV PATH=/opt/avih/bin:$PATH AVIH_STORE=/srv/avih AVIH_KEY_FILE=/run/secrets/avih AVIH_DEVICE=cuda \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
WORKDIR /home/avih
VOLUME /srv/avih
ENTRYPOINT ["avih"]
CMD ["doctor"]
