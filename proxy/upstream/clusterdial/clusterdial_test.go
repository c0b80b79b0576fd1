// SPDX-License-Identifier: Apache-2.0

package clusterdial_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/clusterdial"
)

func TestMain(m *testing.M) { leak.Main(m) }

type poster struct{ *engine.Loop }

func (p poster) Post(f func()) { p.Loop.Post(f) }

func rig(t *testing.T, addr string) *clusterdial.Dialer {
	t.Helper()
	e, err := engine.New(engine.Options{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	var loops []upstream.Loop
	for _, l := range e.Loops() {
		loops = append(loops, poster{l})
	}
	m := upstream.NewManager(upstream.Options{Loops: loops, Stats: stats.NewStore().Scope("")})
	t.Cleanup(m.Close)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &clusterv3.Cluster{}
	text := `{"name":"c","connectTimeout":"1s","loadAssignment":{"clusterName":"c","endpoints":[{"lbEndpoints":[{"endpoint":{"address":{"socketAddress":{"address":"` + host + `","portValue":` + port + `}}}}]}]}}`
	if err := protojson.Unmarshal([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	x := all.Extensions()
	cfg, problems := upstream.Compile(c, &upstream.Context{Policies: x.Policies, Discoveries: x.Discoveries})
	if cfg == nil {
		t.Fatal(problems)
	}
	if _, err := m.Update(cfg); err != nil {
		t.Fatal(err)
	}
	return clusterdial.New(e.Loops(), m)
}

func TestDial(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	}()
	d := rig(t, ln.Addr().String())
	c, err := d.Dial(context.Background(), "c")
	if err != nil {
		t.Fatal(err)
	}
	// More than any buffer on the way holds.
	text := strings.Repeat("0123456789abcdef", 1<<16)
	go func() { _, _ = io.WriteString(c, text) }()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Errorf("got %d bytes: %v", len(got), err)
	}
	c.Close()
	<-done
	ln.Close()
	if _, err := d.Dial(context.Background(), "c"); err == nil || !strings.Contains(err.Error(), `cluster "c": host 127.0.0.1`) {
		t.Errorf("dial of nobody: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := d.Dial(ctx, "none"); err == nil || !strings.Contains(err.Error(), `cluster "none"`) {
		t.Errorf("dial of no cluster: %v", err)
	}
}
