// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"fmt"
	"os"
	"strings"
)

// nginxStream is the module that carries TCP and UDP. Debian has it in a package of its own.
const nginxStream = "/usr/lib/nginx/modules/ngx_stream_module.so"

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
`, s.Dir)
	if s.Mode == TCP || s.Mode == UDP {
		return nginxBytes(s, b.String()), nil
	}
	fmt.Fprintf(&b, `http {
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
`, s.Backend)
	set, pass := "proxy_set_header", "proxy_pass http://bench"
	switch s.Mode {
	case GRPC:
		set, pass = "grpc_set_header", "grpc_pass grpc://bench"
	case WebSocket:
		b.WriteString("  map $http_upgrade $to_backend {\n    default Upgrade;\n    '' '';\n  }\n" +
			"  proxy_http_version 1.1;\n  proxy_set_header Upgrade $http_upgrade;\n  proxy_set_header Connection $to_backend;\n" +
			"  proxy_read_timeout 3600s;\n")
	default:
		b.WriteString("  proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n")
	}
	fmt.Fprintf(&b, `  %[1]s Host $http_host;
  %[1]s X-Forwarded-For $proxy_add_x_forwarded_for;
  %[1]s X-Forwarded-Proto $scheme;
  %[1]s X-Request-Id $request_id;
`, set)
	for i := range max(s.Hosts, 1) {
		fmt.Fprintf(&b, "  server {\n    listen %s%s;\n", s.Listen, nginxListen(s))
		if s.TLS {
			fmt.Fprintf(&b, "    ssl_certificate %s;\n    ssl_certificate_key %s;\n", s.ChainFile(), s.KeyFile())
			b.WriteString("    ssl_protocols TLSv1.3;\n    ssl_ecdh_curve X25519;\n    ssl_session_tickets off;\n    ssl_session_cache off;\n")
			// Off alone has OpenSSL send tickets of another kind, which cost as much.
			b.WriteString("    ssl_conf_command NumTickets 0;\n")
		}
		if s.Hosts > 0 {
			fmt.Fprintf(&b, "    server_name %s;\n", Host(i))
		}
		for j := range s.Routes {
			fmt.Fprintf(&b, "    location %s { %s; }\n", Route(j), pass)
		}
		if s.Routes == 0 {
			fmt.Fprintf(&b, "    location / { %s; }\n", pass)
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String(), nil
}

// nginxListen is what follows the address that it listens on. Without TLS, http2 means by prior knowledge only.
func nginxListen(s Setup) string {
	var out string
	if s.TLS {
		out += " ssl"
	}
	if s.Mode == HTTP2 || s.Mode == GRPC {
		out += " http2"
	}
	return out
}

// nginxBytes is the configuration that carries bytes, behind what all have in common.
func nginxBytes(s Setup, head string) string {
	if _, err := os.Stat(nginxStream); err == nil {
		head = "load_module " + nginxStream + ";\n" + head
	}
	udp := ""
	if s.Mode == UDP {
		udp = " udp"
	}
	return head + fmt.Sprintf(`stream {
  access_log off;
  server {
    listen %s%s;
    proxy_pass %s;
    proxy_timeout 3600s;
  }
}
`, s.Listen, udp, s.Backend)
}
