# the page of the status as C; made again when its source changes

ngx_page=$ngx_addon_dir/status/ngx_http_retry_chain_status
ngx_page_c=$NGX_OBJS/ngx_http_retry_chain_status.html.h

cat << END                                                    >> $NGX_MAKEFILE

$ngx_page_c:	$ngx_page.html $ngx_page.sh
	sh $ngx_page.sh $ngx_page.html >\$@.new && mv \$@.new \$@

$NGX_OBJS/addon/status/ngx_http_retry_chain_status_html.$ngx_objext: \\
	$ngx_page_c

END
