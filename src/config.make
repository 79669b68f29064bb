# the page of the status as an array of C, without its indentation; made again
# when its source changes

ngx_page=$ngx_addon_dir/status/ngx_http_retry_chain_status.html
ngx_page_array=$NGX_OBJS/ngx_http_retry_chain_status.html.h

cat << END                                                    >> $NGX_MAKEFILE

$ngx_page_array:	$ngx_page
	sed 's/^ *//' $ngx_page | od -A n -v -t u1 \\
		| sed 's/  *\\([0-9][0-9]*\\)/\\1,/g' >\$@.new && mv \$@.new \$@

$NGX_OBJS/addon/status/ngx_http_retry_chain_status_html.$ngx_objext: \\
	$ngx_page_array

END
