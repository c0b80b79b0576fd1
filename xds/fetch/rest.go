// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/xds/wire"
)

// poll asks a server by REST, again and again until ctx ends: every refresh_delay, and
// up to half of it more.
func (s *source) poll(ctx context.Context, api *corev3.ApiConfigSource) {
	m := newMux(s, api, nil)
	defer m.close()
	delay := api.GetRefreshDelay().AsDuration()
	if delay <= 0 {
		delay = 5 * time.Second
	}
	timeout := time.Second
	if d := api.GetRequestTimeout().AsDuration(); d > 0 {
		timeout = d
	}
	cluster := ""
	if names := api.GetClusterNames(); len(names) > 0 {
		cluster = names[0]
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.c.o.Dial(ctx, cluster, "http/1.1") }}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for {
		for _, kind := range s.c.order {
			t := s.c.types[kind]
			names := s.names(kind)
			if len(names) == 0 || t.REST == "" {
				continue
			}
			if err := m.fetch(ctx, client, "http://"+cluster+t.REST, t, names, timeout); err != nil && ctx.Err() == nil {
				s.log.Warn("resources could not be fetched: what was good stays in use", "kind", kind, "error", err)
			}
		}
		t := time.NewTimer(delay + time.Duration(rand.Int64N(int64(delay)/2+1)))
		select {
		case <-t.C:
		case <-s.wake:
			t.Stop()
		case e := <-m.ttl:
			t.Stop()
			m.expire(e)
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// fetch asks for one kind and uses the answer.
func (m *mux) fetch(ctx context.Context, client *http.Client, url string, t *wire.Type, names []string, timeout time.Duration) error {
	b := m.sub(t)
	b.asked = map[string]bool{}
	for _, n := range names {
		b.asked[n] = true
	}
	fail := func(err error) error {
		m.s.c.o.Target.Failed(m.s.key, t.Kind, names)
		return err
	}
	body, err := protojson.Marshal(&discoveryv3.DiscoveryRequest{
		VersionInfo: b.version, Node: m.s.c.o.Node, ResourceNames: plain(names, true), TypeUrl: t.URL,
	})
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil
	default:
		return fail(fmt.Errorf("%s answers %s", url, resp.Status))
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage+1))
	if err != nil {
		return fail(err)
	}
	if len(data) > maxMessage {
		return fail(errors.New("the answer is larger than 256 MiB"))
	}
	r := &discoveryv3.DiscoveryResponse{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, r); err != nil {
		return fail(fmt.Errorf("the answer of %s cannot be read: %w", url, err))
	}
	err = m.s.useState(b, r)
	if err == nil {
		b.version = r.GetVersionInfo()
	}
	m.arm(b)
	return err
}
