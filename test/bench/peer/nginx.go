// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"fmt"
	"os"
	"strings"
)

// nginxConfig: one worker, the upstream kept alive. Keep-alive has limits by default that would close connections in
// the middle of a run, so they are raised. Bodies never go to temporary files: the disk is not what is compared.
func nginxConfig(s Setup) (string, error) {
	var b strings.Builder
	if os.Geteuid() == 0 {
		b.WriteString("user root;\n")
	}
	fmt.Fprintf(&b, `daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log warn;
events { worker_connections 20000; }
http {
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  proxy_max_temp_file_size 0;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  server_names_hash_max_size 65536;
  server_names_hash_bucket_size 128;
`, s.Dir)
	if s.AccessLog {
		fmt.Fprintf(&b, "  access_log %s combined buffer=64k flush=1s;\n", s.LogFile())
	} else {
		b.WriteString("  access_log off;\n")
	}
	fmt.Fprintf(&b, `  upstream bench {
    server %s;
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
  }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Request-Id $request_id;
`, s.Backend)
	for i := range max(s.Hosts, 1) {
		fmt.Fprintf(&b, "  server {\n    listen %s;\n", s.Listen)
		if s.Hosts > 0 {
			fmt.Fprintf(&b, "    server_name %s;\n", Host(i))
		}
		for j := range s.Routes {
			fmt.Fprintf(&b, "    location %s { proxy_pass http://bench; }\n", Route(j))
		}
		if s.Routes == 0 {
			b.WriteString("    location / { proxy_pass http://bench; }\n")
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String(), nil
}
