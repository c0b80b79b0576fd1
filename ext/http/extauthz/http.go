// SPDX-License-Identifier: Apache-2.0

package extauthz

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/upstream/call"
)

// httpService asks a service of HTTP: it is sent the head of the request, and its answer
// is the decision: 200 lets the request in, 5xx is an error, any other is the reply.
type httpService struct {
	client           *call.Client
	prefix, override string // of the path
	// requested are the fields of the request that are told where the filter does not say
	// which, beside those that are always.
	requested match.Strings
	add       *route.Headers
	// Which fields of an answer go where; clientAll is all of a reply's.
	toUpstream, toUpstreamAppend, toClient, toClientOnSuccess, toMetadata match.Strings
	clientAll                                                             bool
}

// Fields with a meaning of their own.
var (
	partialBody              = header.NewName("x-envoy-auth-partial-body")
	headersToRemove          = header.NewName("x-envoy-auth-headers-to-remove")
	failureModeAllowed       = header.NewName("x-envoy-auth-failure-mode-allowed")
	downstreamServiceCluster = header.NewName("x-envoy-downstream-service-cluster")
)

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func (g *httpService) ask(f *Filter, s *stream.Stream, q *question) (*decision, error) {
	h := s.Request.Header
	path := []byte(g.override)
	if g.override == "" {
		path = append([]byte(g.prefix), h.Get(header.Path)...)
	}
	k := g.client.Begin(string(h.Get(header.Method)), path)
	defer k.End()
	k.Request.SetBytes(header.Authority, h.Get(header.Authority))
	g.tell(f.own, &k.Request, h)
	g.add.Apply(&k.Request, &s.Info)
	k.Trace(s.Span)
	if q.buffering.max > 0 {
		k.Request.Set(partialBody, boolText(q.partial))
	}
	k.Request.SetInt(header.ContentLength, int64(len(q.body)))
	if len(q.body) > 0 {
		k.Body = append(k.Room(), q.body...)
	}
	if err := k.Do(s.Running()); err != nil {
		return nil, err
	}
	return g.answer(k), nil
}

// tell copies the fields that the service is told.
func (g *httpService) tell(c *Settings, to, from *header.Map) {
	var seen []string
	for n, v := range from.All() {
		name := n.String()
		if n.IsPseudo() || n == header.ContentLength || !c.tellsHTTP(g, name) || slices.Contains(seen, name) {
			continue
		}
		if !c.raw && from.Count(n) > 1 {
			seen = append(seen, name)
			v, _ = from.AppendJoined(nil, n)
		}
		if !c.raw {
			v = valid(v)
		}
		to.AddBytes(n, v)
	}
}

// answer makes a decision of a response, whose memory it does not keep.
func (g *httpService) answer(k *call.Call) *decision {
	d := &decision{verdict: denied, status: k.Status}
	switch {
	case k.Status == http.StatusOK:
		g.allow(d, &k.Response)
	case isError(k.Status):
		d.verdict, d.status = failed, 0
	default:
		d.body = bytes.Clone(k.Content)
		for n, v := range k.Response.All() {
			if g.clientAll && !n.IsPseudo() || g.toClient.Match(n.String()) {
				d.reply = appendField(d.reply, n, v, add)
			}
		}
	}
	for n, v := range k.Response.All() {
		if g.toMetadata.Match(n.String()) {
			if d.metadata == nil {
				d.metadata = map[string]any{}
			}
			d.metadata[strings.Clone(n.String())] = string(v)
		}
	}
	return d
}

func (g *httpService) allow(d *decision, h *header.Map) {
	d.verdict, d.status = allowed, 0
	for n, v := range h.All() {
		name := n.String()
		if g.toUpstreamAppend.Match(name) {
			d.request = appendField(d.request, n, v, appendTo)
		}
		if g.toUpstream.Match(name) {
			d.request = appendField(d.request, n, v, set)
		}
		if g.toClientOnSuccess.Match(name) {
			d.response = appendField(d.response, n, v, add)
		}
	}
	for name := range strings.SplitSeq(string(h.Get(headersToRemove)), ",") {
		if name = strings.TrimSpace(name); name != "" {
			d.remove = append(d.remove, name)
		}
	}
}

// appendField appends a field of an answer, but for those that belong to the answer
// itself: its framing is not that of another message.
func appendField(list []mutation, n header.Name, v []byte, a action) []mutation {
	switch n {
	case header.ContentLength, headersToRemove:
		return list
	}
	if n.IsPseudo() {
		return list
	}
	return append(list, mutation{strings.Clone(n.String()), string(v), a})
}
