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
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/legacy/v1"
	"weir.dev/weir/xds/wire"
)

// maxAnswer bounds an answer in JSON, in bytes: it costs some ten times its size.
const maxAnswer = 64 << 20

// An asker asks a server once for resources of a kind, by names. No response is one that
// says that nothing has changed. What came of some names is of use although there is an
// error.
type asker interface {
	ask(ctx context.Context, t *wire.Type, b *sub, names []string) (*discoveryv3.DiscoveryResponse, error)
	close()
}

// poller asks a server again and again.
type poller struct {
	m     *mux
	asker asker
	// pending are the kinds that are to be asked for, failed is the last failure of
	// each that was told.
	pending map[xds.Kind]bool
	failed  map[xds.Kind]string
}

// poll asks a server until ctx ends: every refresh_delay and up to as much again, by
// chance, so that proxies do not ask all at once; and whenever more is wanted.
func (s *source) poll(ctx context.Context, api *corev3.ApiConfigSource) {
	delay := api.GetRefreshDelay().AsDuration()
	if delay <= 0 {
		delay = 5 * time.Second
	}
	p := &poller{m: newMux(s, api, nil), pending: map[xds.Kind]bool{}, failed: map[xds.Kind]string{}}
	defer p.m.close()
	with, err := v1.ContextOf(api)
	switch {
	case err != nil:
		s.log.Error("resources cannot be asked for", "error", err)
		s.failed()
		return
	case with != nil:
		p.asker = newVersion1(p.m, *with)
	default:
		p.asker = newREST(p.m)
	}
	defer p.asker.close()
	next := time.NewTimer(delay + rand.N(delay))
	defer next.Stop()
	var wait waiting
	defer wait.stop()
	for {
		patient := true
		select {
		case <-next.C:
			for kind := range p.m.subs {
				p.pending[kind] = true
			}
			next.Reset(delay + rand.N(delay))
		case <-s.wake:
		case <-wait.warm:
		case <-wait.late:
			patient = false
			wait.stop()
		case <-p.m.ttl.due():
			p.m.expire()
			continue
		case <-ctx.Done():
			return
		}
		p.round(ctx, &wait, patient)
	}
}

// round asks for the kinds that are pending; those that need clusters wait for them, if
// it is patient.
func (p *poller) round(ctx context.Context, wait *waiting, patient bool) {
	m := p.m
	wait.warm = nil
	for _, kind := range m.s.c.order {
		t, names := m.s.c.types[kind], m.s.names(kind)
		if m.subs[kind] == nil && len(names) == 0 {
			continue
		}
		b := m.sub(t)
		if more, _ := m.wanted(b, names); len(more) > 0 {
			p.pending[kind] = true
		}
		if !p.pending[kind] || len(names) == 0 {
			continue
		}
		if patient && needsClusters(kind) {
			if wait.warm = m.s.c.o.Target.Warm(); wait.warm != nil {
				wait.limit()
				return
			}
		}
		delete(p.pending, kind)
		if err := p.ask(ctx, t, b, names); ctx.Err() == nil {
			p.tell(kind, err)
		}
	}
	wait.stop()
}

// ask asks for one kind and uses the answer.
func (p *poller) ask(ctx context.Context, t *wire.Type, b *sub, names []string) error {
	r, err := p.asker.ask(ctx, t, b, names)
	if err != nil && ctx.Err() == nil {
		p.m.s.c.o.Target.Failed(p.m.s.key, t.Kind, names)
	}
	if r == nil {
		return err
	}
	b.wrong = p.m.useState(b, r)
	if err == nil && b.wrong == nil {
		b.version = r.GetVersionInfo()
	}
	return errors.Join(err, b.wrong)
}

// tell logs a failure once, however often it comes again, and its end.
func (p *poller) tell(kind xds.Kind, err error) {
	switch {
	case err != nil && err.Error() != p.failed[kind]:
		p.failed[kind] = err.Error()
		p.m.s.log.Warn("resources could not be fetched: what was good stays in use", "kind", kind, "error", err)
	case err == nil && p.failed[kind] != "":
		delete(p.failed, kind)
		p.m.s.log.Info("resources are fetched again", "kind", kind)
	}
}

// rest asks by HTTP, the clusters of the source in turn whenever one fails.
type rest struct {
	m         *mux
	transport *http.Transport
	clusters  []string
	timeout   time.Duration
}

func newREST(m *mux) *rest {
	r := &rest{m: m, clusters: m.api.GetClusterNames(), timeout: time.Second}
	if len(r.clusters) == 0 {
		r.clusters = []string{""}
	}
	if d := m.api.GetRequestTimeout().AsDuration(); d > 0 {
		r.timeout = d
	}
	r.transport = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1, MaxResponseHeaderBytes: 64 << 10, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return m.s.c.o.Dial(ctx, r.clusters[0], "http/1.1")
	}}
	return r
}

func (r *rest) close() { r.transport.CloseIdleConnections() }

func (r *rest) ask(ctx context.Context, t *wire.Type, b *sub, names []string) (*discoveryv3.DiscoveryResponse, error) {
	if t.REST == "" {
		return nil, fmt.Errorf("resources of the kind %s cannot be fetched by REST: use api_type DELTA_GRPC", t.Kind)
	}
	body, err := protojson.Marshal(&discoveryv3.DiscoveryRequest{
		VersionInfo: b.version, Node: r.m.s.c.o.Node, ResourceNames: plain(names, true), TypeUrl: t.URL, ErrorDetail: detail(b.wrong),
	})
	if err != nil {
		return nil, err
	}
	out, err := r.post(ctx, t.REST, body)
	if err != nil && ctx.Err() == nil {
		r.transport.CloseIdleConnections()
		r.clusters = append(r.clusters[1:], r.clusters[0])
	}
	return out, err
}

func (r *rest) post(ctx context.Context, path string, body []byte) (*discoveryv3.DiscoveryResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://xds"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if httpguts.ValidHostHeader(r.clusters[0]) {
		req.Host = r.clusters[0]
	}
	req.Header.Set("Content-Type", "application/json")
	// Not a Client's: a redirect is no answer.
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask the cluster %q for %s: %w", r.clusters[0], path, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, nil
	default:
		return nil, fmt.Errorf("ask the cluster %q for %s: the answer is %.100s", r.clusters[0], path, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("ask the cluster %q for %s: %w", r.clusters[0], path, err)
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("ask the cluster %q for %s: the answer is larger than %d MiB", r.clusters[0], path, maxAnswer>>20)
	}
	out := &discoveryv3.DiscoveryResponse{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("ask the cluster %q for %s: the answer cannot be read: %.500v", r.clusters[0], path, err)
	}
	return out, nil
}
