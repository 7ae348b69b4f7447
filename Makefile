# otad: one file, non-recursive. `make help` lists the targets.
#   make CC=clang            another compiler           make SAN=address,undefined   sanitizers
# Each variant has its own folder of objects, build/<variant>; the plain one links to build/.

ROOMS := util crypto json conf loop db store catalog device update dialect mqtt http api core
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

.PHONY: all help clean
all: $(PROGRAMS) ## build otad and otasim into build/

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
FLAGS_NOW := $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL)
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

# ---- unit tests: one program per room, test/unit/<room>/*.c, with cmocka ----
UNIT_ROOMS := $(notdir $(patsubst %/,%,$(wildcard test/unit/*/)))
UNIT_BIN := $(UNIT_ROOMS:%=$(OBJ)/unit/%)
define UNIT_RULE
$(OBJ)/unit/$1: $(patsubst test/%.c,$(OBJ)/test/%.o,$(wildcard test/unit/$1/*.c)) \
		$(patsubst test/%.c,$(OBJ)/test/%.o,$(wildcard test/lib/*.c)) $(LIB)
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $$@ $$^ $(LIBS) -lcmocka
endef
$(foreach r,$(UNIT_ROOMS),$(eval $(call UNIT_RULE,$r)))
$(OBJ)/test/%.o: test/%.c $(OBJ)/flags | $(GEN)/db_queries.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -Itest/lib $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
.PHONY: unit-build unit unit-%
unit-build: $(UNIT_BIN)
unit: unit-build ## build and run the unit tests of this variant
	@for t in $(UNIT_BIN); do echo "== $$t"; $$t || exit 1; done
unit-%: $(OBJ)/unit/%
	$<

clean: ## remove build/
	rm -rf build

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)
