#!/bin/sh
# images.sh FOLDER: put two versions of one real firmware into FOLDER and describe them in
# FOLDER/list, a line each: version, file, what it is. The older one comes first.
#
# It is U-Boot for QEMU's 64-bit ARM board, as Debian 12 and Debian 13 ship it, taken through
# apt from the machine's own mirror, whichever of the two this machine runs; nothing is installed.
# Where the mirror has only one of them: the ATmega328P's boot loaders out of arduino-core-avr.
set -eu

out=$1
[ ! -s "$out/list" ] || exit 0
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2016 # apt's own variables
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' \
	2>/dev/null | head -1 || true)

# An apt of its own for one release, beside the machine's.
release() {
	root=$work/$1
	mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial" "$root/etc"
	: >"$root/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" \
		>"$root/etc/sources.list"
	cat >"$root/apt.conf" <<-EOF
		Dir::State "$root/state";
		Dir::State::status "$root/status";
		Dir::Cache "$root/cache";
		Dir::Etc::sourcelist "$root/etc/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Acquire::Languages "none";
		Acquire::Retries "2";
		Acquire::http::Timeout "20";
		APT::Get::List-Cleanup "0";
	EOF
	if [ "$(id -u)" = 0 ]; then echo 'APT::Sandbox::User "root";' >>"$root/apt.conf"; fi
}

# u_boot CODENAME: the image and its line of the list
u_boot() {
	release "$1"
	(
		cd "$work/$1"
		export APT_CONFIG="$work/$1/apt.conf"
		apt-get -q update && apt-get -q download u-boot-qemu && dpkg-deb -x u-boot-qemu_*.deb x
	) >>"$work/log" 2>&1 </dev/null || return 1
	image=$work/$1/x/usr/lib/u-boot/qemu_arm64/u-boot.bin
	version=$(grep -aoE -m1 'U-Boot 20[0-9]{2}\.[0-9]{2}[-+.0-9a-z]*' "$image" | head -1)
	version=${version#U-Boot }
	[ -n "$version" ] || return 1
	name=u-boot-${version%%[-+]*}.bin
	cp "$image" "$out/$name"
	echo "$version $name U-Boot for qemu_arm64, from Debian's $1" >>"$work/list"
}

boot_loaders() {
	(
		cd "$work"
		apt-get -q download arduino-core-avr && dpkg-deb -x arduino-core-avr_*.deb avr
	) >>"$work/log" 2>&1 </dev/null || return 1
	from=$work/avr/usr/share/arduino/hardware/arduino/avr/bootloaders
	cp "$from/atmega/ATmegaBOOT_168_atmega328.hex" "$from/optiboot/optiboot_atmega328.hex" "$out/"
	{
		echo "1.16 ATmegaBOOT_168_atmega328.hex the ATmega328P's first boot loader"
		echo "4.4 optiboot_atmega328.hex the ATmega328P's boot loader since the Uno"
	} >"$work/list"
}

: >"$work/list"
if ! { [ -n "$mirror" ] && u_boot bookworm && u_boot trixie; }; then
	rm -f "$out"/u-boot-*
	boot_loaders || {
		echo "images.sh: neither u-boot-qemu nor arduino-core-avr could be had:" >&2
		cat "$work/log" >&2
		exit 1
	}
fi
mv "$work/list" "$out/list"
