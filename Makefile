# ngx_http_retry_chain_module: build and test machinery
#
#   NGINX_SRC=DIR  build against this nginx source tree (1.22 or newer) instead
#                  of the installed nginx; its binary and module are in
#                  build/nginx-VERSION only, and are what is tested
#   TESTS="..."    the test files of suite, asan, valgrind, static and newer
#   SUITE=NAME     the Debian release of newer
#   MACHINE=FILE   the state machine that explain is about; DOT=1: as a graph
#   CC, FUZZ_TIME (seconds per fuzz target), TEST_JOBS

MODULE = ngx_http_retry_chain_module.so
UTIL = t/util
DEV = /usr/share/nginx/src

TESTS = $(wildcard t/*.t)
FUZZ_TIME = 20
SUITE = testing

# recursively expanded: only what is asked for is read, after the set-up

VERSION = $(shell sed -n 's/^.define NGINX_VERSION *"\(.*\)"/\1/p' \
                      $(SOURCE)/src/core/nginx.h)

ifdef NGINX_SRC
SOURCE = $(NGINX_SRC)
TREE = build/nginx-$(VERSION)
BINARY = $(CURDIR)/$(TREE)/nginx
KIND = nginx
WITH = TEST_NGINX_BINARY=$(BINARY) \
       TEST_NGINX_LOAD_MODULES=$(CURDIR)/$(TREE)/$(MODULE)
else
SOURCE = $(DEV)
TREE = build/debian
BINARY = $(shell PATH="$$PATH:/usr/sbin" command -v nginx)
KIND = module
WITH = TEST_NGINX_BINARY=$(BINARY)
endif

# a complete source, where headers are not enough

FULL = $(if $(NGINX_SRC),$(NGINX_SRC),build/source/$(VERSION))

export TEST_JOBS


.PHONY: build nginx demo setup test unit unit-build suite fuzz asan valgrind \
        static newer lint style layers bench clean explain help source


build: $(SOURCE)/src/core/nginx.h ## build/ngx_http_retry_chain_module.so (the default)
	@$(UTIL)/build.sh $(KIND) $(SOURCE) $(TREE)
	@if [ $(KIND) = nginx ]; then \
	    echo $(TREE)/nginx $(TREE)/$(MODULE); \
	elif ! cmp -s $(TREE)/$(MODULE) build/$(MODULE); then \
	    cp $(TREE)/$(MODULE) build/$(MODULE).new \
	    && mv -f build/$(MODULE).new build/$(MODULE) \
	    && echo build/$(MODULE); \
	fi


$(DEV)/src/core/nginx.h:
	@echo "nginx-dev is not installed: $(UTIL)/setup.sh build," \
	      "or NGINX_SRC=DIR" >&2; exit 1


nginx: ## with NGINX_SRC=DIR: build/nginx-VERSION/nginx and its module
	@$(if $(NGINX_SRC),,echo "make nginx NGINX_SRC=DIR" >&2; exit 2)
	@$(MAKE) --no-print-directory build


demo: ## set up, build and show the main job on loopback
	@$(UTIL)/setup.sh demo
	@$(MAKE) --no-print-directory build
	@$(WITH) $(UTIL)/demo.sh


setup: ## install what the tests need: packages of Debian and of npm
	@$(UTIL)/setup.sh test
	@$(UTIL)/setup.sh npm


test: setup ## set up, then everything that must pass before a commit
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory style
	@$(MAKE) --no-print-directory layers
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit-build
	@$(WITH) $(UTIL)/run-tests


source:
	@$(if $(NGINX_SRC),,$(UTIL)/setup.sh source build/source)


unit-build: build source
	@$(UTIL)/unit.sh test $(TREE)/src $(FULL)
	@$(UTIL)/unit.sh explain $(TREE)/src $(FULL)


unit: unit-build ## the unit tests of the pure rooms, under ASan and UBSan
	@$(UTIL)/run-tests build/unit/*_test


suite: build ## the Test::Nginx suite only
	@$(WITH) $(UTIL)/run-tests $(TESTS)


fuzz: build source ## the fuzz targets of the pure rooms, FUZZ_TIME=20 s each
	@$(UTIL)/unit.sh fuzz $(TREE)/src $(FULL)
	@mkdir -p build/unit/corpus/machine_fuzz
	@$(UTIL)/fuzz-machines build/unit/corpus/machine_fuzz
	@cd build/unit && for f in *_fuzz; do \
	    mkdir -p corpus/$$f; echo "$$f"; \
	    d=../../t/unit/$$f.dict; [ -f $$d ] && d=-dict=$$d || d=; \
	    ./$$f -max_total_time=$(FUZZ_TIME) -verbosity=0 $$d \
	        -print_final_stats=1 corpus/$$f || exit 1; \
	done


asan: source ## the suite with nginx and module under ASan (module: UBSan)
	@$(UTIL)/build.sh asan $(FULL) build/asan-$(VERSION)
	@$(UTIL)/checked.sh asan build/asan-$(VERSION) $(TESTS)


valgrind: source ## the suite under valgrind
	@$(UTIL)/build.sh palloc $(FULL) build/palloc-$(VERSION)
	@$(UTIL)/checked.sh valgrind build/palloc-$(VERSION) $(TESTS)


static: source ## the suite with the module linked into nginx
	@$(UTIL)/build.sh static $(FULL) build/static-$(VERSION)
	@TEST_NGINX_BINARY=$(CURDIR)/build/static-$(VERSION)/nginx \
	    TEST_NGINX_LOAD_MODULES= $(UTIL)/run-tests $(TESTS)


newer: ## the suite with the nginx of a newer Debian: SUITE=testing
	@$(UTIL)/setup.sh newer
	@$(UTIL)/newer.sh $(SUITE) $(TESTS)


lint: build ## clang-tidy and cppcheck
	@$(UTIL)/lint.sh $(TREE)/src


style: ## the layout of src/ and t/unit/
	@$(UTIL)/style


layers: ## no include points up, pure rooms know no request
	@$(UTIL)/layers


explain: build source ## in words, what MACHINE=FILE is compiled into; DOT=1: a graph
	@$(if $(MACHINE),,echo "make explain MACHINE=FILE" >&2; exit 2)
	@$(UTIL)/unit.sh explain $(TREE)/src $(FULL)
	@build/unit/explain $(if $(DOT),-d) $(MACHINE)


bench: ## set up, build and measure, against plain nginx and others
	@$(UTIL)/setup.sh bench
	@$(MAKE) --no-print-directory build
	@$(WITH) t/bench/run.sh
	@t/bench/reserve.sh $(TREE)/src
	@$(WITH) t/bench/line.pl
	@$(WITH) t/bench/limits.sh


clean: ## remove what was built; downloaded sources stay
	@find build -mindepth 1 -maxdepth 1 ! -name source \
	    -exec rm -rf {} + 2>/dev/null || true


help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile \
	    | awk -F '|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@sed -n '/^#   /s/^# //p' Makefile
