# make bench            all parts, about a quarter of an hour
# make bench PART=ac    some of them; ROUNDS=1 for a quick look
PART ?= abcdef
ROUNDS ?= 3
bench: all build/preload/faultfs.so ## speed and size against the targets; figures in build/bench.json
	/usr/bin/python3 test/load/bench.py --parts '$(PART)' --rounds $(ROUNDS)
