#!/usr/bin/perl

# What make builds, for which nginx, and what it tests; what configure says
# without cJSON; headers of Angie and of freenginx, as far as they differ.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use FindBin;
use Test::More;

my $top = abs_path("$FindBin::Bin/..");
my $dev = '/usr/share/nginx/src';
my $module = 'ngx_http_retry_chain_module.so';
my $cc = $ENV{CC} || 'cc';
my $dir = abs_path(tempdir('retry_chain_build.XXXXXX', TMPDIR => 1,
                           CLEANUP => 1));

# a make above this test is not a part of it

delete @ENV{grep { /^(?:MAKE|MFLAGS|GNUMAKE|TEST_NGINX_|NGINX_SRC$|TESTS$)/ }
            keys %ENV};


# ---- make, with scripts that only say how they were called ------------------

make_path("$dir/t/util", map { "$dir/$_/src/core" } qw(dev other));
write_file('Makefile', read_file("$top/Makefile"));
write_file('dev/src/core/nginx.h', qq{#define NGINX_VERSION "1.22.9"\n});
write_file('other/src/core/nginx.h', qq{#define NGINX_VERSION "1.99.1"\n});

write_file('t/util/script', <<'EOC');
#!/bin/sh
name=${0##*/}
with=
[ $name != run-tests ] || with=" ${TEST_NGINX_BINARY##*/build/}"
with="$with ${TEST_NGINX_LOAD_MODULES-as built}"
[ $name = run-tests ] || with=
echo "$name $*$with" >>calls

if [ $name = build.sh ]; then
    mkdir -p "$3" build
    echo "of $2" >"$3/ngx_http_retry_chain_module.so"
    echo "of $2" >"$3/nginx"
fi
EOC

chmod 0755, "$dir/t/util/script";
symlink 'script', "$dir/t/util/$_"
    for qw(build.sh setup.sh unit.sh lint.sh style layers run-tests);

is(make(), "build/$module\n", 'the module for the installed nginx');
is(read_file("$dir/build/$module"), "of $dir/dev\n", 'is of its headers');

my @other = ("NGINX_SRC=$dir/other");
my $tree = 'build/nginx-1.99.1';

is(make(@other), "$tree/nginx $tree/$module\n",
   'NGINX_SRC: a binary and a module of its own');
is(read_file("$dir/$tree/$module"), "of $dir/other\n", 'of that source');
is(read_file("$dir/build/$module"), "of $dir/dev\n",
   'what is for the installed nginx stays');

calls();
make('suite', 'TESTS=t/a.t', @other);
is((calls())[-1], "run-tests t/a.t nginx-1.99.1/nginx $dir/$tree/$module",
   'NGINX_SRC: both are tested');

make('suite', 'TESTS=t/a.t');
like((calls())[-1], qr{^run-tests t/a\.t (?!nginx-)\S* as built$},
     'else the installed nginx is');

make('setup');
is(join(', ', calls()), 'setup.sh test, setup.sh npm', 'make setup');

make('test');
my @calls = calls();
is(join(', ', @calls[0, 1]), 'setup.sh test, setup.sh npm',
   'make test sets up first');
like($calls[-1], qr/^run-tests /, 'and runs the tests at the end');


# ---- a compiler that knows no cJSON -----------------------------------------

SKIP: {
    skip "no $dev", 2 if !-f "$dev/auto/feature";

    make_path("$dir/source/auto");
    write_file('source/auto/feature', read_file("$dev/auto/feature"));

    # what the module's "config" needs of nginx's configure

    write_file('source/configure', <<"EOC");
echo "checking for OS"
NGX_AUTOCONF_ERR=autoconf.err
NGX_AUTOTEST=autotest
CC=$dir/cc
ngx_addon_dir=$top
. \$ngx_addon_dir/config
EOC
    write_file('cc', <<"EOC");
#!/bin/sh
for file; do
    case \$file in
        *.c)  ! grep -q cjson/ "\$file" || { echo "no cJSON.h" >&2; exit 1; } ;;
    esac
done
exec $cc "\$@"
EOC
    chmod 0755, "$dir/cc";

    my $said = `$top/t/util/build.sh module $dir/source $dir/out 2>&1`;

    isnt($?, 0, 'without cJSON nothing is built');
    like($said, qr{\A configuring\ .*\n
                   \./configure:\ error:\ .*\ cJSON\ .*\ libcjson-dev\b.*\n\z}x,
         'one line says what is missing, and its package');
}


# ---- headers that differ ----------------------------------------------------

my %fork = (

    # since nginx 1.23.0, in any fork of it

    linked => [
        ['core/ngx_hash.h',
         qr/typedef struct (\{[^}]*lowcase_key;\n)\} ngx_table_elt_t;/,
         'typedef struct ngx_table_elt_s  ngx_table_elt_t;'
         . " struct ngx_table_elt_s %s ngx_table_elt_t *next; };",
         qr/ngx_table_elt_t +\*next;/],
        ['http/ngx_http_request.h', qr/ngx_array_t( +cache_control;)/,
         'ngx_table_elt_t *%s', qr/ngx_table_elt_t +\*cache_control;/],
        ['http/ngx_http_request.h', qr/ngx_array_t( +link;)/,
         'ngx_table_elt_t *%s', qr/ngx_table_elt_t +\*link;/],
    ],

    Angie => [
        ['core/nginx.h', qr/(#define nginx_version) +\d+/,
         "#define angie_version 1013000\n%s 1031002"],
        ['http/ngx_http_request.h', qr/( +time_t +)date_time;/, ''],
        ['http/ngx_http_core_module.h',
         qr/ngx_http_core_loc_conf_t +\*\*(named_locations;)/,
         'ngx_http_core_loc_t **%s'],
        ['http/ngx_http_core_module.h',
         qr/(typedef struct ngx_http_core_loc_conf_s .*\n)/,
         '%stypedef struct { ngx_str_t name;'
         . " ngx_http_core_loc_conf_t *conf; } ngx_http_core_loc_t;\n"],
        ['http/ngx_http_request.h', qr/(#define NGX_HTTP_PROCESSING .*\n)/,
         "%s#define NGX_HTTP_EARLY_HINTS 103\n",
         qr/#define NGX_HTTP_EARLY_HINTS /],
        ['http/ngx_http.h', qr/(extern .*)(?=ngx_http_top_header_filter;)/,
         "%sngx_http_top_early_hints_filter;\n%1\$s",
         qr/ngx_http_top_early_hints_filter;/],
    ],

    freenginx => [
        ['core/nginx.h', qr/(#define nginx_version) +\d+/,
         "#define freenginx 1\n%s 1029007"],
        ['http/ngx_http_request.h',
         qr/time_t +start_sec;\s+ngx_msec_t( +)start_msec;/,
         'ngx_msec_t%sstart_time;'],
        ['http/ngx_http_request.h', qr/( +ngx_table_elt_t +\*)expires;/,
         "%sexpires;\n%1\$sage;"],
        ['http/ngx_http_request.h', qr/(#define) NGX_HTTP_EARLY_HINTS .*\n/, '',
         qr/\A(?!.*NGX_HTTP_EARLY_HINTS)/s],
        ['http/ngx_http.h', qr/(extern) .*ngx_http_top_early_hints_filter;\n/,
         '', qr/\A(?!.*ngx_http_top_early_hints_filter)/s],
    ],

    'freenginx 1.31' => [
        ['core/nginx.h', qr/(#define nginx_version) +\d+/, '%s 1031000'],
        ['http/ngx_http_request.h',
         qr/unsigned( +)add_uri_to_alias:1;/, 'size_t%salias_in_uri;'],
    ],
);

SKIP: {
    my ($built) = grep { -f "$_/objs/ngx_auto_config.h" }
                       glob("$top/build/{debian,nginx-*}/src");

    skip 'no configured nginx in build/', 3 if !defined $built;

    compiles($built, 'Angie', qw(linked Angie));
    compiles($built, 'freenginx', qw(linked freenginx));
    compiles($built, 'freenginx 1.31', qw(linked freenginx), 'freenginx 1.31');
}

done_testing();


# every source file, against a copy of the headers with these differences

sub compiles {
    my ($built, $name, @forks) = @_;

    my $tree = "$dir/headers/$name" =~ tr/ /_/r;

    make_path($tree);
    system("cd $built && find src objs -name '*.h' -print0"
           . " | xargs -0 cp --parents -t $tree") == 0
        or die "cannot copy $built";

    change($tree, @$_) for map { @{ $fork{$_} } } @forks;

    my @include = map { "-I $_" } glob("$top/src $top/src/*/"), grep { -d } map { "$tree/$_" }
        'objs', map { "src/$_" } qw(core event event/modules event/quic
            os/unix http http/modules http/v2 http/v3);
    my $flags = "-Wall -Wextra -Wno-unused-parameter -Werror @include";

    write_file('all.h', join '', map { "#include <$_.h>\n" }
                                     qw(ngx_config ngx_core ngx_http));

    my $said = `$cc $flags -x c-header $dir/all.h -o $dir/all.h.gch 2>&1 \\
                && $cc $flags -include $dir/all.h -fsyntax-only \\
                       $top/src/*.c $top/src/*/*.c 2>&1`;

    is($said, '', "it compiles with headers like those of $name");
}


# change TREE, FILE, FROM, TO, unless it is like IS already

sub change {
    my ($tree, $file, $from, $to, $is) = @_;

    my $text = read_file("$tree/src/$file");

    no warnings 'redundant';

    return if defined $is && $text =~ $is;

    $text =~ s/$from/sprintf $to, $1/e or die "$file: no $from";

    open my $out, '>', "$tree/src/$file" or die "$file: $!";
    print $out $text;
    close $out or die "$file: $!";
}


sub make {
    return scalar `make --no-print-directory -C $dir DEV=$dir/dev @_ 2>&1`;
}


sub calls {
    my @lines = -f "$dir/calls" ? split /\n/, read_file("$dir/calls") : ();

    unlink "$dir/calls";

    return @lines;
}


sub read_file {
    my ($name) = @_;

    open my $in, '<', $name or return "$name: $!";
    local $/;

    return scalar <$in>;
}


sub write_file {
    my ($name, $text) = @_;

    open my $out, '>', "$dir/$name" or die "$name: $!";
    print $out $text;
    close $out or die "$name: $!";
}
