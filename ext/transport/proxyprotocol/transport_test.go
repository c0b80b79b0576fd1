// SPDX-License-Identifier: Apache-2.0

package proxyprotocol

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream"
)

func TestMain(m *testing.M) { leak.Main(m) }

// inner is a transport socket that sends a byte, to show what comes first.
type inner struct{}

func (inner) Wrap(_ *engine.Task, c *upstream.Conn, _ *upstream.TransportOptions) error {
	_, err := c.Socket.Write([]byte("!"))
	return err
}

func (inner) Secure() bool { return true }

func services(e *engine.Engine) *extension.Services {
	s := &extension.Services{Stats: stats.NewStore(), UpstreamTransport: func(t *corev3.TransportSocket) (upstream.Transport, error) {
		switch t.GetName() {
		case "inner":
			return inner{}, nil
		case "raw":
			return nil, nil
		}
		return nil, errors.New("not known")
	}}
	s.Loops = make([]*engine.Loop, 1)
	if e != nil {
		s.Loops = e.Loops()
	}
	return s
}

func compile(json string, s *extension.Services) (upstream.Transport, error) {
	m := &proxyprotocolv3.ProxyProtocolUpstreamTransport{}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		return nil, err
	}
	return Extension().New(m, s)
}

func addr(t *testing.T, s string) address.Addr {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sent connects to a listener through the transport socket and returns what it
// got.
func sent(t *testing.T, config string, o *upstream.TransportOptions) string {
	t.Helper()
	e, err := engine.New(engine.Options{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	tr, err := compile(config, services(e))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	to := addr(t, ln.Addr().String())
	failed := make(chan error, 1)
	e.Loops()[0].Post(func() {
		e.Loops()[0].Go(engine.RunnerFunc(func(task *engine.Task) {
			sock, err := task.Dial(to, &engine.DialOptions{})
			if err == nil {
				c := &upstream.Conn{Socket: sock, Transport: sock, Info: &streaminfo.Connection{Local: sock.LocalAddr(), Remote: to}}
				err = tr.Wrap(task, c, o)
				sock.Close()
			}
			failed <- err
		}))
	})
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got, err := io.ReadAll(bufio.NewReader(conn))
	if e := errors.Join(err, <-failed); e != nil {
		t.Fatal(e)
	}
	peer := conn.RemoteAddr().String()
	return strings.Replace(string(got), strings.Replace(peer, "127.0.0.1:", "127.0.0.1 127.0.0.1 ", 1)+" "+strings.TrimPrefix(ln.Addr().String(), "127.0.0.1:"), "OWN", 1)
}

func TestV1(t *testing.T) {
	from := &streaminfo.Connection{Remote: addr(t, "192.0.2.1:5"), Local: addr(t, "192.0.2.2:6")}
	for _, tt := range []struct {
		config, want string
		o            *upstream.TransportOptions
	}{
		{`{"transport_socket": {"name": "raw"}}`, "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", &upstream.TransportOptions{Downstream: from}},
		{`{"transport_socket": {"name": "inner"}}`, "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n!", &upstream.TransportOptions{Downstream: from}},
		{`{"transport_socket": {"name": "inner"}}`, "PROXY TCP4 OWN\r\n!", nil},
		{`{"transport_socket": {"name": "inner"}}`, "PROXY TCP4 OWN\r\n!", &upstream.TransportOptions{}},
		{`{"transport_socket": {"name": "raw"}}`, "PROXY UNKNOWN\r\n", &upstream.TransportOptions{Downstream: &streaminfo.Connection{Remote: address.Unix("@"), Local: address.Unix("/s")}}},
	} {
		if got := sent(t, tt.config, tt.o); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestV2(t *testing.T) {
	from := &streaminfo.Connection{
		Remote: addr(t, "192.0.2.1:5"), Local: addr(t, "192.0.2.2:6"), ServerName: "a.test",
		FilterState: streaminfo.FilterState{proxyproto.StateKey: {Value: &proxyproto.Header{TLVs: []proxyproto.TLV{
			{Type: 1, Value: []byte("one")}, {Type: 3, Value: []byte("sum.")}, {Type: 4, Value: []byte("pad")}, {Type: 0xea, Value: []byte("vpc")}, {Type: 5, Value: []byte("five")},
		}}}},
	}
	const v2 = `"transport_socket": {"name": "raw"}, "config": {"version": "V2"`
	nowhere := &streaminfo.Connection{}
	ends := func(tlvs ...proxyproto.TLV) proxyproto.Header {
		return proxyproto.Header{Version: 2, Source: from.Remote, Destination: from.Local, TLVs: tlvs}
	}
	tlv := func(kind byte, v string) proxyproto.TLV { return proxyproto.TLV{Type: kind, Value: []byte(v)} }
	local := proxyproto.Header{Version: 2, Local: true}
	for name, tt := range map[string]struct {
		config string
		from   *streaminfo.Connection
		want   proxyproto.Header
	}{
		"no TLVs":           {`{` + v2 + `}}`, from, ends()},
		"all":               {`{` + v2 + `, "pass_through_tlvs": {"match_type": "INCLUDE_ALL"}}}`, from, ends(tlv(1, "one"), tlv(0xea, "vpc"), tlv(5, "five"))},
		"some":              {`{` + v2 + `, "pass_through_tlvs": {"match_type": "INCLUDE", "tlv_type": [5, 3]}}}`, from, ends(tlv(5, "five"))},
		"added":             {`{` + v2 + `, "pass_through_tlvs": {}, "added_tlvs": [{"type": 1, "value": "YQ=="}, {"type": 2, "format_string": {"text_format_source": {"inline_string": "%REQUESTED_SERVER_NAME%"}}}]}}`, from, ends(tlv(1, "a"), tlv(2, "a.test"), tlv(0xea, "vpc"), tlv(5, "five"))},
		"nobody's":          {`{` + v2 + `}}`, nil, local},
		"no ends":           {`{` + v2 + `}}`, nowhere, local},
		"no ends, told so":  {`{` + v2 + `}, "allow_unspecified_address": true}`, nowhere, local},
		"unix":              {`{` + v2 + `}}`, &streaminfo.Connection{Remote: address.Unix("@"), Local: address.Unix("/s")}, proxyproto.Header{Version: 2, Source: address.Unix("@"), Destination: address.Unix("/s")}},
		"two families":      {`{` + v2 + `}}`, &streaminfo.Connection{Remote: addr(t, "192.0.2.1:5"), Local: addr(t, "[::1]:6")}, proxyproto.Header{Version: 2, Source: addr(t, "192.0.2.1:5"), Destination: addr(t, "[::1]:6")}},
		"too many TLVs fit": {`{` + v2 + `, "added_tlvs": [{"type": 1, "value": "` + strings.Repeat("AAAA", 21000) + `"}, {"type": 2, "value": "` + strings.Repeat("AAAA", 21000) + `"}]}}`, from, ends(tlv(1, strings.Repeat("\x00", 63000)))},
	} {
		got := sent(t, tt.config, &upstream.TransportOptions{Downstream: tt.from})
		h, err := proxyproto.ParseV2([]byte(got))
		if d := cmp.Diff(tt.want, h, cmp.Comparer(func(a, b address.Addr) bool { return a == b })); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
		if unspec := got[12] == 0x21 && got[13] == 0; unspec != (name == "no ends, told so") {
			t.Errorf("%s: %q", name, got[:16])
		}
	}
}

func TestRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: "TransportSocket: value is required",
		`{"transport_socket": {"name": "other"}}`:                                    "transport_socket (other): not known",
		`{"transport_socket": {"name": "raw"}, "config": {"pass_through_tlvs": {}}}`: "version 1 has no TLVs",
		`{"transport_socket": {"name": "raw"}, "config": {"version": "V2", "added_tlvs": [{"type": 1, "value": "YQ==", "format_string": {"text_format": "a"}}]}}`:             "only one of value and format_string",
		`{"transport_socket": {"name": "raw"}, "config": {"version": "V2", "pass_through_tlvs": {"tlv_type": [256]}}}`:                                                        "TlvType[0]",
		`{"transport_socket": {"name": "raw"}, "config": {"version": "V2", "added_tlvs": [{"type": 1, "format_string": {"text_format_source": {"inline_string": "%NO%"}}}]}}`: "added_tlvs[0].format_string",
	} {
		if _, err := compile(config, services(nil)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestSecure(t *testing.T) {
	for name, want := range map[string]bool{"raw": false, "inner": true} {
		tr, err := compile(`{"transport_socket": {"name": "`+name+`"}}`, services(nil))
		if err != nil || tr.Secure() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
