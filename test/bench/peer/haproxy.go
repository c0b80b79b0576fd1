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
	b.WriteString(`defaults
  mode http
  maxconn 20000
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option forwardfor
  http-reuse always
`)
	if s.Splice {
		b.WriteString("  option splice-auto\n")
	}
	fmt.Fprintf(&b, "frontend bench\n  bind %s\n", s.Listen)
	if s.AccessLog {
		b.WriteString("  log global\n  option httplog\n")
	}
	b.WriteString("  unique-id-format %[uuid()]\n  unique-id-header X-Request-ID\n  http-request set-header X-Forwarded-Proto http\n")
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
	fmt.Fprintf(&b, "backend bench\n  server bench %s\n", s.Backend)
	return b.String(), nil
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
