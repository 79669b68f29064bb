#!/bin/sh
# The page of the status as C: an array of it, without its indentation, and the
# digests of its script and style, as a Content-Security-Policy has them.
#
#   ngx_http_retry_chain_status.sh PAGE

set -eu

page=$1


text()
{
    sed 's/^ *//' "$page"
}


# digest ELEMENT: of what stands between its tags, each on a line of its own

digest()
{
    text | sed -n "/^<$1>/,/^<\/$1>/p" | sed '1s/.*//; $d' | sha256sum \
        | sed 's/ .*//; s/../0x& /g' \
        | for byte in $(cat); do printf "\\$(printf %03o "$byte")"; done \
        | base64
}


script=$(digest script)
style=$(digest style)

# what failed in a pipe has said so

[ "${#script} ${#style}" = "44 44" ]

echo "#define NGX_HTTP_RETRY_CHAIN_STATUS_SCRIPT  \"$script\""
echo "#define NGX_HTTP_RETRY_CHAIN_STATUS_STYLE   \"$style\""
echo
echo 'static const u_char  ngx_http_retry_chain_status_page[] = {'
text | od -A n -v -t u1 | sed 's/  *\([0-9][0-9]*\)/\1,/g'
echo '};'
