// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// haproxyConfig: one thread, upstream connections shared by all. Hosts and routes are what its manual advises for
// many: a map file, looked up once per request. It logs to standard output, which the harness directs to a file.
func haproxyConfig(s Setup) (string, error) {
	var b strings.Builder
	b.WriteString("global\n  nbthread 1\n  maxconn 20000\n")
	// It wants two descriptors for each of maxconn, and by default ends where the limit is lower. 10,000 clients with few
	// upstream connections need fewer.
	b.WriteString("  no strict-limits\n")
	if s.AccessLog {
		b.WriteString("  log stdout format raw local0 info\n")
	}
	if s.TLS {
		b.WriteString("  tune.ssl.cachesize 0\n")
	}
	if s.Mode == GRPC {
		// The default of 64 KiB halts a stream of messages every few hundred.
		b.WriteString("  tune.h2.initial-window-size 1048576\n")
	}
	switch s.Mode {
	case UDP:
		return "", fmt.Errorf("it does not carry UDP")
	case TCP:
		return b.String() + haproxyTCP(s), nil
	}
	b.WriteString(`defaults
  mode http
  maxconn 20000
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  timeout tunnel 1h
  option forwardfor
  http-reuse always
`)
	if s.Splice {
		b.WriteString("  option splice-auto\n")
	}
	fmt.Fprintf(&b, "frontend bench\n  bind %s%s\n", s.Listen, haproxyBind(s))
	if s.AccessLog {
		b.WriteString("  log global\n  option httplog\n")
	}
	b.WriteString("  unique-id-format %[uuid()]\n  unique-id-header X-Request-ID\n  http-request set-header X-Forwarded-Proto " + scheme(s) + "\n")
	switch {
	case s.Hosts > 0:
		if err := haproxyMap(&b, s, "hosts.map", s.Hosts, Host, "req.hdr(host),lower,map"); err != nil {
			return "", err
		}
	case s.Routes > 0:
		if err := haproxyMap(&b, s, "routes.map", s.Routes, Route, "path,map_beg"); err != nil {
			return "", err
		}
	default:
		b.WriteString("  default_backend bench\n")
	}
	fmt.Fprintf(&b, "backend bench\n  server bench %s", s.Backend)
	if s.Mode == GRPC {
		b.WriteString(" proto h2")
	}
	b.WriteString("\n")
	return b.String(), nil
}

// scheme is what X-Forwarded-Proto says.
func scheme(s Setup) string {
	if s.TLS {
		return "https"
	}
	return "http"
}

// haproxyBind is what follows the address that it listens on.
func haproxyBind(s Setup) string {
	h2 := s.Mode == HTTP2 || s.Mode == GRPC
	switch {
	case s.TLS:
		alpn := "http/1.1"
		if h2 {
			alpn = "h2,http/1.1"
		}
		return " ssl crt " + s.PairFile() + " alpn " + alpn + " ssl-min-ver TLSv1.3 ciphersuites TLS_AES_128_GCM_SHA256 curves X25519 no-tls-tickets"
	case h2:
		return " proto h2"
	}
	return ""
}

// haproxyTCP is the rest of a configuration that carries bytes.
func haproxyTCP(s Setup) string {
	text := "defaults\n  mode tcp\n  maxconn 20000\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
	if s.Splice {
		text += "  option splice-auto\n"
	}
	return text + fmt.Sprintf("listen bench\n  bind %s\n  server bench %s\n", s.Listen, s.Backend)
}

// haproxyMap writes a map of n names to the backend and the rule that looks it up.
func haproxyMap(b *strings.Builder, s Setup, file string, n int, name func(int) string, lookup string) error {
	var m strings.Builder
	for i := range n {
		fmt.Fprintf(&m, "%s bench\n", name(i))
	}
	path := filepath.Join(s.Dir, file)
	if err := os.WriteFile(path, []byte(m.String()), 0o644); err != nil {
		return fmt.Errorf("write map: %w", err)
	}
	fmt.Fprintf(b, "  use_backend %%[%s(%s)]\n", lookup, path)
	return nil
}
