# make bench            all parts, about half an hour
# make bench PART=ac    some of them; ROUNDS=1 for a quick look
# make bench DOC=doc/performance.md   puts the table there, too
PART ?= abcdefghijk
ROUNDS ?= 3
DOC ?=
bench: all build/preload/faultfs.so build/bench/echo ## speed and size against the targets; figures in build/bench.json
	@sh src/tool/deps.sh bench
	/usr/bin/python3 test/load/bench.py --parts '$(PART)' --rounds $(ROUNDS) \
		$(if $(DOC),--doc '$(DOC)')
build/bench/echo: test/load/echo.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -O2 $(WARN) -o $@ $< -lmosquitto
