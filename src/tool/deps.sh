#!/bin/sh
# deps.sh GROUP…: install the Debian packages that the groups need (build, test, demo, bench, lint).
# Does nothing when all are there; works as root or with sudo, and without a terminal.
set -eu

build="gcc libc6-dev make libuv1-dev libmosquitto-dev mosquitto-dev libmicrohttpd-dev
	libsqlite3-dev libjansson-dev libssl-dev libcurl4-openssl-dev"
test="libcmocka-dev mosquitto mosquitto-clients curl python3 python3-pytest python3-paho-mqtt
	python3-yaml mandoc openssl systemd procps"
demo="mosquitto mosquitto-clients curl python3"
bench="mosquitto wrk nginx-light python3 python3-paho-mqtt"
lint="clang clang-format clang-tidy libclang-rt-dev shellcheck python3"

want=""
for group; do
	case $group in
	build) want="$want $build" ;;
	test) want="$want $test" ;;
	demo) want="$want $demo" ;;
	bench) want="$want $bench" ;;
	lint) want="$want $lint" ;;
	*) echo "deps.sh: unknown group $group" >&2 && exit 2 ;;
	esac
done

missing=""
for package in $want; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	case $status in
	*installed*) [ "$status" = not-installed ] && missing="$missing $package" ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

as_root() {
	if [ "$(id -u)" = 0 ]; then
		env DEBIAN_FRONTEND=noninteractive "$@"
	elif command -v sudo >/dev/null; then
		sudo env DEBIAN_FRONTEND=noninteractive "$@"
	else
		echo "deps.sh: be root, or have sudo, to install:$missing" >&2
		exit 1
	fi
}
echo "installing:$missing"
# When it fails the index may still be good enough; the installation tells.
as_root apt-get update -q </dev/null || true
# shellcheck disable=SC2086 # a list of packages
as_root apt-get install -q -y --no-install-recommends $missing </dev/null
