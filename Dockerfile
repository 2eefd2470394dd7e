# moda on the CPU.
#
#   docker build -t moda .
#   docker run --rm -p 127.0.0.1:7860:7860 moda
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" moda talk portrait.jpg voice.wav -o out.mp4
FROM python:3.11-slim-bookworm

# What MediaPipe and OpenCV need of the system.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

# On x86-64 Linux, PyPI's torch brings gigabytes of CUDA, of no use in this image. The index of CPU builds has the same
# version without. The packages come before the code, so that a change of the code does not install them again.
WORKDIR /src
COPY requirements.txt .
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' requirements.txt)" \
 && pip install --no-cache-dir -r requirements.txt
COPY . .
RUN pip install --no-cache-dir .

# Home holds the signing key and fetched weights; any user may write there, for `docker run --user`.
ENV HOME=/var/lib/moda
RUN mkdir -m 1777 "$HOME" && mkdir -m 1777 /data
USER 1000:1000
WORKDIR /data

EXPOSE 7860
ENTRYPOINT ["moda"]
CMD ["app", "--host", "0.0.0.0"]
