#!/bin/sh
# Makes small samples of real encoded media with ffmpeg, for `freshet-loadtest run --media`: loadtest/media/make.sh [FOLDER]
#
# H.264 is constrained baseline without B-frames, with parameter sets at each keyframe; every picture shows its time, so
# that a person who looks at what arrives sees what is missing. Nothing is made again that is there already.
set -eu

folder=${1:-${CARGO_TARGET_DIR:-target}/media}
seconds=${SECONDS_EACH:-4}
fps=${FPS:-30}
gop=${GOP:-30}
size=${SIZE:-640x360}
rate=${BITRATE:-800k}

command -v ffmpeg >/dev/null || {
    echo "make.sh: ffmpeg is not there; install it" >&2
    exit 2
}
mkdir -p "$folder"

# Under its name only once it is whole: two may be making it at a time.
make() {
    name=$1
    shift
    [ -e "$folder/$name" ] && return
    part="$folder/.$$-$name"
    ffmpeg -nostdin -hide_banner -loglevel error -y "$@" "$part"
    mv "$part" "$folder/$name"
}

make sample.h264 -f lavfi -i "testsrc2=size=$size:rate=$fps:duration=$seconds" \
    -c:v libx264 -profile:v baseline -level 3.1 -pix_fmt yuv420p -preset veryfast -tune zerolatency \
    -bf 0 -g "$gop" -keyint_min "$gop" -sc_threshold 0 -b:v "$rate" -maxrate "$rate" -bufsize "$rate" \
    -x264-params repeat-headers=1:sliced-threads=0:force-cfr=1 -f h264
make sample.ivf -f lavfi -i "testsrc2=size=$size:rate=$fps:duration=$seconds" \
    -c:v libvpx -pix_fmt yuv420p -deadline realtime -cpu-used 8 -auto-alt-ref 0 -lag-in-frames 0 \
    -g "$gop" -keyint_min "$gop" -b:v "$rate" -f ivf
make sample.ogg -f lavfi -i "sine=frequency=440:beep_factor=4:sample_rate=48000:duration=$seconds" \
    -c:a libopus -ac 2 -b:a 48k -frame_duration 20 -f ogg
