# ngx_http_retry_chain_module: build and test machinery
#
#   NGINX_SRC=DIR    build against this nginx source tree (1.22 or newer) instead
#                  of the installed nginx; its binary and module are in
#                  build/nginx-VERSION
#   TESTS="..."    the test files of suite, asan, valgrind, static and newer
#   SUITE=NAME     the Debian release of newer
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
else
SOURCE = $(DEV)
TREE = build/debian
BINARY = $(shell PATH="$$PATH:/usr/sbin" command -v nginx)
KIND = module
endif

# a complete source, where headers are not enough

FULL = $(if $(NGINX_SRC),$(NGINX_SRC),build/source/$(VERSION))

export TEST_JOBS


.PHONY: build nginx demo test unit unit-build suite fuzz asan valgrind static \
        newer lint style layers bench clean help source


build: $(SOURCE)/src/core/nginx.h ## build/ngx_http_retry_chain_module.so (the default)
	@$(UTIL)/build.sh $(KIND) $(SOURCE) $(TREE)
	@cmp -s $(TREE)/$(MODULE) build/$(MODULE) \
	    || { cp $(TREE)/$(MODULE) build/$(MODULE).new \
	         && mv -f build/$(MODULE).new build/$(MODULE) \
	         && echo build/$(MODULE); }


$(DEV)/src/core/nginx.h:
	@echo "nginx-dev is not installed: $(UTIL)/setup.sh build," \
	      "or NGINX_SRC=DIR" >&2; exit 1


nginx: ## with NGINX_SRC=DIR: build/nginx-VERSION/nginx and its module
	@$(if $(NGINX_SRC),,echo "make nginx NGINX_SRC=DIR" >&2; exit 2)
	@$(MAKE) --no-print-directory build
	@echo $(TREE)/nginx $(TREE)/$(MODULE)


demo: ## set up, build and show the main job on loopback
	@$(UTIL)/setup.sh demo
	@$(MAKE) --no-print-directory build
	@$(UTIL)/demo.sh


test: ## set up, then everything that must pass before a commit
	@$(UTIL)/setup.sh test
	@$(UTIL)/setup.sh browser
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory style
	@$(MAKE) --no-print-directory layers
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit-build
	@TEST_NGINX_BINARY=$(BINARY) TEST_BROWSER=1 $(UTIL)/run-tests


source:
	@$(if $(NGINX_SRC),,$(UTIL)/setup.sh source build/source)


unit-build: build source
	@$(UTIL)/unit.sh test $(TREE)/src $(FULL)


unit: unit-build ## the unit tests of the pure rooms, under ASan and UBSan
	@set -- build/unit/*_test; [ ! -x $$1 ] || $(UTIL)/run-tests "$$@"


suite: build ## the Test::Nginx suite only
	@TEST_NGINX_BINARY=$(BINARY) $(UTIL)/run-tests $(TESTS)


fuzz: build source ## the fuzz targets of the pure rooms, FUZZ_TIME=20 s each
	@$(UTIL)/unit.sh fuzz $(TREE)/src $(FULL)
	@cd build/unit && for f in *_fuzz; do \
	    [ -x $$f ] || continue; mkdir -p corpus/$$f; echo "$$f"; \
	    ./$$f -max_total_time=$(FUZZ_TIME) -verbosity=0 \
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


bench: ## set up, build and measure, against plain nginx and others
	@$(UTIL)/setup.sh bench
	@$(MAKE) --no-print-directory build
	@t/bench/run.sh
	@t/bench/reserve.sh $(TREE)/src
	@t/bench/line.pl
	@t/bench/limits.sh


clean: ## remove what was built; downloaded sources stay
	@find build -mindepth 1 -maxdepth 1 ! -name source \
	    -exec rm -rf {} + 2>/dev/null || true


help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile \
	    | awk -F '|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@sed -n '/^#   /s/^# //p' Makefile
