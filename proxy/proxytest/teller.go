// SPDX-License-Identifier: Apache-2.0

package proxytest

import (
	"fmt"
	"strings"
	"testing"

	echov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/echo/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/streaminfo"
)

// WithTeller returns the extensions and a terminal network filter configured by
// Envoy's Echo message: it answers each connection with one line, in which what
// is known of it stands by format (access log operators), and then sends back
// what it reads. It takes the place of the extension that this message is for.
func WithTeller(t testing.TB, r *extension.Registry, line string) *extension.Registry {
	t.Helper()
	f, err := format.Compile(line, format.Options{})
	if err != nil {
		t.Fatalf("compile %q: %v", line, err)
	}
	out := *r
	out.Network = append([]extension.NetworkFilter{{
		Name: "envoy.filters.network.echo", Config: &echov3.Echo{}, Terminal: true,
		Handler: func(proto.Message, *extension.Network) (conn.Factory, error) { return teller{f}, nil },
	}}, r.Network...)
	return &out
}

// Teller is the filter of [WithTeller] as Envoy's YAML has it, on one line.
const Teller = `{name: tell, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}`

// Told is the bootstrap of one listener on a free port of 127.0.0.1, with the
// stat_prefix "l", that has the filter of [WithTeller]. filters are its listener
// filters and fields further fields, both YAML on lines of their own; chains are
// filter chain matches on one line each, by which the chains are called c0, c1
// and so on; none of them is one chain that takes everything.
func Told(filters, fields string, chains ...string) string {
	var b strings.Builder
	b.WriteString("static_resources:\n  listeners:\n  - name: test\n    stat_prefix: l\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n")
	for line := range strings.Lines(fields) {
		b.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
	}
	if filters != "" {
		b.WriteString("    listener_filters:\n")
		for line := range strings.Lines(filters) {
			b.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	b.WriteString("    filter_chains:\n")
	if len(chains) == 0 {
		chains = []string{"{}"}
	}
	for i, m := range chains {
		fmt.Fprintf(&b, "    - {name: c%d, filter_chain_match: %s, filters: [%s]}\n", i, m, Teller)
	}
	return b.String()
}

// ListenerFilter is a listener filter as Envoy's YAML has it, on one line: the
// end of its message's name, such as "tls_inspector.v3.TlsInspector", and fields
// with commas before them.
func ListenerFilter(message, fields string) string {
	name, _, _ := strings.Cut(message, ".")
	return fmt.Sprintf("- {name: envoy.filters.listener.%s, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.%s%s}}\n", name, message, fields)
}

type teller struct{ line *format.Format }

// New makes the handler of one connection.
func (t teller) New(*conn.Conn) conn.Handler { return t }

// Serve tells, and sends back what it reads.
func (t teller) Serve(_ *engine.Task, c *conn.Conn) bool {
	line := t.line.AppendTo(nil, &streaminfo.Stream{Conn: c.Info, Metadata: c.Info.Metadata})
	_, err := c.Transport.Write(append(line, '\n'))
	b := make([]byte, 4096)
	for n := 0; err == nil; {
		if n, err = c.Transport.Read(b); err == nil {
			_, err = c.Transport.Write(b[:n])
		}
	}
	return false
}

// Drain does nothing: the client ends the connection.
func (t teller) Drain(*conn.Conn) {}

// Closed does nothing.
func (t teller) Closed(*conn.Conn) {}
