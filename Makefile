# otad: one file, non-recursive. `make help` lists the targets.
#   make CC=clang            another compiler           make SAN=address,undefined   sanitizers
# Each variant has its own folder of objects, build/<variant>; the plain one links to build/.

ROOMS := util crypto json conf loop db store audit event campaign catalog device update task dialect mqtt http webhook api core
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
SAN ?=
comma := ,
VARIANT := $(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))
OBJ := build/$(VARIANT)
BIN := $(if $(filter gcc,$(VARIANT)),build,$(OBJ))
GEN := build/gen

WARN := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wvla -Wswitch-enum -Wwrite-strings
ifneq ($(CI)$(WERROR),)
WARN += -Werror
endif
CPPFLAGS_ALL = -D_GNU_SOURCE -Iinclude -I$(GEN) $(CPPFLAGS)
ifneq ($(SAN),)
OPT ?= -O1 -g -fno-omit-frame-pointer
HARDEN := -fsanitize=$(SAN) -fno-sanitize-recover=all
LDHARDEN := -fsanitize=$(SAN)
else
OPT ?= -O2 -g
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
LDHARDEN := -pie -Wl,-z,relro,-z,now
endif
# Tests are compiled once and run once: their own code is not worth the optimiser's time.
TEST_OPT ?= $(if $(SAN),-O0,-O1)
CFLAGS_ALL = -std=gnu17 $(OPT) $(WARN) $(HARDEN) -pthread $(CFLAGS)
LDFLAGS_ALL = $(LDHARDEN) -pthread $(LDFLAGS)
LIBS := -luv -lmosquitto -lmicrohttpd -lsqlite3 -ljansson -lcrypto -lm

ROOM_SRC := $(foreach r,$(ROOMS),$(wildcard src/$r/*.c src/$r/*/*.c))
ROOM_OBJ := $(ROOM_SRC:src/%.c=$(OBJ)/%.o) $(OBJ)/gen/db_queries.o
DAEMON_OBJ := $(patsubst src/%.c,$(OBJ)/%.o,$(wildcard src/daemon/*.c))
SIM_OBJ := $(patsubst src/%.c,$(OBJ)/%.o,$(wildcard src/sim/*.c))
SQL := $(wildcard sql/migrations/*.sql) $(wildcard sql/queries/*.sql)
LIB := $(OBJ)/libotad.a
PROGRAMS := $(if $(DAEMON_OBJ),$(BIN)/otad) $(if $(SIM_OBJ),$(BIN)/otasim)
# The broker's plugin: its own objects, position-independent, with nothing but its door visible.
PLUGIN := $(BIN)/otad_mosquitto.so
PLUGIN_OBJ := $(patsubst src/%.c,$(OBJ)/so/%.o,$(wildcard src/plugin/*.c src/util/*.c src/crypto/*.c))

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=

.PHONY: all help clean deps test demo lint
all: $(PROGRAMS) $(PLUGIN) ## build otad, otasim and otad_mosquitto.so into build/

deps: ## install the packages that building, running and testing need (Debian 12, 13)
	@src/tool/deps.sh build test

test: ## install what is missing, build, run every test; the last line is the sum
	@src/tool/deps.sh build test
	@test/run

demo: ## install what is missing, build, and upgrade a simulated device (DEMO_ONCE=1 ends after it)
	@src/tool/deps.sh build demo
	@$(MAKE) --no-print-directory all
	@demo/run

lint: ## format, layers, forbidden text, clang-tidy, shellcheck, generated files
	@src/tool/deps.sh build lint
	@src/tool/lint.py

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# ---- generated code: the named queries and the migrations, compiled in ----
$(GEN)/embed: src/tool/embed.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu17 -O1 $(WARN) -o $@ $<
$(GEN)/db_queries.c: $(GEN)/embed $(SQL)
	$(GEN)/embed $(GEN)/db_queries sql/migrations sql/queries
$(GEN)/db_queries.h: $(GEN)/db_queries.c ;

# ---- objects; a change of flags rebuilds them ----
FLAGS_NOW := $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) tests: $(TEST_OPT)
$(OBJ)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS_NOW)' | cmp -s - $@ || echo '$(FLAGS_NOW)' > $@
FORCE:
$(OBJ)/%.o: src/%.c $(OBJ)/flags | $(GEN)/db_queries.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
$(OBJ)/gen/%.o: $(GEN)/%.c $(OBJ)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
$(LIB): $(ROOM_OBJ)
	@rm -f $@
	@ar rcs $@ $^
$(BIN)/otad: $(DAEMON_OBJ) $(LIB)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$(BIN)/otasim: $(SIM_OBJ) $(LIB)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$(OBJ)/so/%.o: src/%.c $(OBJ)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -fPIC -fvisibility=hidden -ffunction-sections \
		-fdata-sections -MMD -MP -c -o $@ $<
# mosquitto 2.0.21 lets plugins call only part of what 2.0.11 did: reading properties is the
# library's part. Debian's broker comes with the library of its own version.
$(PLUGIN): $(PLUGIN_OBJ)
	$(CC) $(CFLAGS_ALL) $(filter-out -pie,$(LDFLAGS_ALL)) -fPIC -shared -Wl,--gc-sections -o $@ $^ \
		-lmosquitto -lcrypto

# ---- unit tests: one program per room, test/unit/<room>/*.c, with cmocka ----
UNIT_ROOMS := $(notdir $(patsubst %/,%,$(wildcard test/unit/*/)))
UNIT_BIN := $(UNIT_ROOMS:%=$(OBJ)/unit/%)
# The plugin is no part of the library; what it does without a broker is tested like the rest.
UNIT_MORE_plugin := $(patsubst %,$(OBJ)/plugin/%.o,ids logins places rights)
define UNIT_RULE
$(OBJ)/unit/$1: $(patsubst test/%.c,$(OBJ)/test/%.o,$(wildcard test/unit/$1/*.c)) \
		$(patsubst test/%.c,$(OBJ)/test/%.o,$(wildcard test/lib/*.c)) $(UNIT_MORE_$1) $(LIB)
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $$@ $$^ $(LIBS) -lcmocka
endef
$(foreach r,$(UNIT_ROOMS),$(eval $(call UNIT_RULE,$r)))
$(OBJ)/test/%.o: test/%.c $(OBJ)/flags | $(GEN)/db_queries.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -Itest/lib $(CFLAGS_ALL) $(TEST_OPT) -MMD -MP -c -o $@ $<
.PHONY: unit-build unit
# The rooms with threads of their own, and the log that they share, for SAN=thread.
TSAN_ROOMS := $(filter util loop http db mqtt webhook api core,$(UNIT_ROOMS))
unit-tsan-build: $(TSAN_ROOMS:%=$(OBJ)/unit/%)
unit-list:
	@echo $(UNIT_BIN)
unit-tsan-list:
	@echo $(TSAN_ROOMS:%=$(OBJ)/unit/%)
unit-build: $(UNIT_BIN)
unit: unit-build ## build and run the unit tests of this variant
	@for t in $(UNIT_BIN); do echo "== $$t"; $$t || exit 1; done
unit-%: $(OBJ)/unit/%
	$<
.PHONY: unit-asan unit-tsan
unit-asan: ## the unit tests under ASan and UBSan
	@$(MAKE) --no-print-directory SAN=address,undefined unit
unit-tsan: ## the rooms with threads under TSan
	@$(MAKE) --no-print-directory SAN=thread $(TSAN_ROOMS:%=unit-%)

.PHONY: test-long
test-long: ## what make test does less of: 1,000 seeds of simulated campaigns, 200 under ASan
	@$(MAKE) --no-print-directory $(OBJ)/unit/campaign
	OTAD_TEST_SEEDS=1000 $(OBJ)/unit/campaign
	@$(MAKE) --no-print-directory SAN=address,undefined build/$(notdir $(CC))-address-undefined/unit/campaign
	OTAD_TEST_SEEDS=200 build/$(notdir $(CC))-address-undefined/unit/campaign

.PHONY: rehearsal
rehearsal: all preload ## a campaign to 5,000 simulated devices, otad killed on the way; about four minutes
	REHEARSAL_DEVICES=5000 /usr/bin/python3 -m pytest -q -s -p no:cacheprovider \
		test/e2e/test_30_rehearsal.py

clean: ## remove build/
	rm -rf build

# ---- fuzzing: test/fuzz/<name>.c, its seeds in test/fuzz/corpus/<name>/ ----
FUZZ_NAMES := $(notdir $(basename $(wildcard test/fuzz/*.c)))
T ?=
S ?= 60
.PHONY: fuzz fuzz-link-% fuzz-regress
fuzz: ## fuzz one target with clang: make fuzz T=name S=seconds
	@test -n '$(T)' || { echo 'make fuzz T=name S=60; names: $(FUZZ_NAMES)'; exit 2; }
	$(MAKE) --no-print-directory CC=clang SAN=address,undefined,fuzzer-no-link fuzz-link-$(T)
	@mkdir -p build/fuzz/$(T) test/fuzz/corpus/$(T) test/fuzz/regression/$(T)
	build/clang-address-undefined-fuzzer-no-link/fuzz/$(T) -max_total_time=$(S) -timeout=20 \
		-artifact_prefix=test/fuzz/regression/$(T)/ build/fuzz/$(T) test/fuzz/corpus/$(T)
fuzz-link-%: $(OBJ)/test/fuzz/%.o $(LIB)
	@mkdir -p $(OBJ)/fuzz
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $(OBJ)/fuzz/$* $^ $(LIBS)
FUZZ_REPLAY := $(FUZZ_NAMES:%=$(OBJ)/fuzz-replay/%)
$(OBJ)/fuzz-replay/%: $(OBJ)/test/fuzz/%.o $(OBJ)/test/fuzz/lib/replay.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
.PHONY: fuzz-replay-build
fuzz-replay-build: $(FUZZ_REPLAY)
.PHONY: fuzz-inputs
fuzz-inputs:
	@for n in $(FUZZ_NAMES); do \
		find test/fuzz/corpus/$$n test/fuzz/regression/$$n -type f 2>/dev/null | grep -q . || \
			{ echo "no input for the fuzz target '$$n': put some into test/fuzz/corpus/$$n" >&2; exit 1; }; \
	done
fuzz-regress: fuzz-inputs fuzz-replay-build ## replay the corpus and every past crash, without libFuzzer
	@for n in $(FUZZ_NAMES); do \
		find test/fuzz/corpus/$$n test/fuzz/regression/$$n -type f 2>/dev/null | LC_ALL=C sort | \
			xargs -r $(OBJ)/fuzz-replay/$$n || exit 1; \
	done

# ---- shared objects that tests preload ----
PRELOADS := $(patsubst test/lib/preload/%.c,build/preload/%.so,$(wildcard test/lib/preload/*.c))
build/preload/%.so: test/lib/preload/%.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu17 -O1 -g $(WARN) -shared -fPIC -o $@ $< -ldl -pthread
.PHONY: preload
preload: $(PRELOADS)

# ---- clang-tidy: one stamp per source ----
TIDY_SRC := $(ROOM_SRC) $(wildcard src/daemon/*.c) $(wildcard src/sim/*.c) $(wildcard src/plugin/*.c)
.PHONY: tidy fmt fmt-check
tidy: $(TIDY_SRC:%=build/tidy/%.ok)
build/tidy/%.ok: % .clang-tidy $(wildcard include/*.h) | $(GEN)/db_queries.h
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- $(CPPFLAGS_ALL) -std=gnu17 2>$@.err >$@.out || \
		{ grep -A3 -E '(error|warning):' $@.out $@.err | sed 's,^[^ ]*\.\(out\|err\)[:-],,' ; exit 1; }
	@touch $@
FMT_SRC = $(wildcard include/*.h) $(shell find src test -name '*.[ch]')
fmt: ## format the C sources in place
	clang-format -i $(FMT_SRC)
fmt-check:
	clang-format --dry-run --Werror $(FMT_SRC)

# ---- what is generated and kept for reading, and what is installed ----
.PHONY: schema man install docker sample
schema: ## write sql/schema.sql from the migrations
	mkdir -p build && src/tool/schema.py > build/schema.sql && cp build/schema.sql sql/schema.sql
sample: $(BIN)/otad ## write config/otad.toml from the table of the configuration
	$(BIN)/otad --sample-config > build/otad.toml && cp build/otad.toml config/otad.toml
man: build/man/otad.8 build/man/otad.toml.5 ## man pages
build/man/otad.8: doc/man/otad.8
	@mkdir -p $(@D)
	cp $< $@
build/man/otad.toml.5: doc/man/otad.toml.5.in $(BIN)/otad
	@mkdir -p $(@D)
	$(BIN)/otad --man-items | sed -e '/^\./!s/\([.:]\) \([A-Z0-9]\)/\1\n\2/g' > build/man/items
	sed -e '/^@ITEMS@$$/{r build/man/items' -e 'd;}' $< > $@
install: all man ## DESTDIR= PREFIX=/usr/local: programs, unit, man pages, sample configuration
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -D -m 644 $(PLUGIN) $(DESTDIR)$(PREFIX)/lib/otad/otad_mosquitto.so
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's,/usr/bin/otad,$(PREFIX)/bin/otad,' config/otad.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/otad.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/otad.service
	install -m 644 config/otad-broker.path config/otad-broker.service \
		$(DESTDIR)$(PREFIX)/lib/systemd/system
	install -d $(DESTDIR)$(PREFIX)/share/doc/otad
	install -m 644 config/mosquitto.conf config/mosquitto-plugin.conf config/emqx.conf \
		$(DESTDIR)$(PREFIX)/share/doc/otad
	install -D -m 644 build/man/otad.8 $(DESTDIR)$(PREFIX)/share/man/man8/otad.8
	install -D -m 644 build/man/otad.toml.5 $(DESTDIR)$(PREFIX)/share/man/man5/otad.toml.5
	install -D -m 644 config/otad.toml $(DESTDIR)$(PREFIX)/share/doc/otad/otad.toml
	test -e $(DESTDIR)$(SYSCONFDIR)/otad/otad.toml || \
		install -D -m 644 config/otad.toml $(DESTDIR)$(SYSCONFDIR)/otad/otad.toml
docker: ## build the image otad:latest
	docker build -f docker/Dockerfile -t otad:latest .
-include $(wildcard test/load/bench.mk)

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)
