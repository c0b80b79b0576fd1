// SPDX-License-Identifier: Apache-2.0

// Package awsrequestsigning is Envoy's AWS request signing filter
// (envoy.filters.http.aws_request_signing): it signs requests to services of AWS, and to
// what others run behind the same signatures.
//
// It does not choose where requests go. Credentials are kept by proxy/aws/credentials.
package awsrequestsigning

import (
	"errors"
	"sync"
	"time"

	"weir.dev/weir/proxy/aws/credentials"
	"weir.dev/weir/proxy/aws/sign"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
)

// Stats are the filter's statistics (aws_request_signing.*).
type Stats struct {
	Added         stats.Counter `stat:"signing_added"`
	Failed        stats.Counter `stat:"signing_failed"`
	PayloadAdded  stats.Counter `stat:"payload_signing_added"`
	PayloadFailed stats.Counter `stat:"payload_signing_failed"`
}

// Settings are a compiled AwsRequestSigning, of the filter or of a route.
type Settings struct {
	host     string // "": as it is
	unsigned bool   // the body is not part of the signature
	signer   *sign.Signer
	from     *credentials.Provider
	stats    *stats.Sharded[Stats]
}

// Filter is the filter in one chain.
type Filter struct {
	name    string
	slot    stream.Slot
	own     *Settings
	buffers sync.Pool // of *[]byte
}

// state is the body of one request, and the memory that it may lie in.
type state struct {
	body   stream.Bytes
	buffer *[]byte
}

// maxKept bounds a buffer that is kept for the next request, in bytes.
const maxKept = 256 << 10

// Request signs the request. What asks to leave HTTP is signed without a body.
func (f *Filter) Request(s *stream.Stream) error {
	c := f.own
	if o, ok := stream.RouteConfig[*Settings](s, f.name); ok {
		c = o
	}
	h := s.Request.Header
	if c.host != "" {
		h.Set(header.Authority, c.host)
	}
	if c.unsigned {
		return c.sign(s, sign.Unsigned(), false)
	}
	if s.Upgrade || s.Request.Body == nil {
		return c.sign(s, sign.Hash(nil), false)
	}
	body, err := f.collect(s)
	switch {
	case errors.Is(err, stream.ErrTooLarge):
		s.Reply(stream.TooLarge())
		return nil
	case err != nil:
		return err
	}
	return c.sign(s, sign.Hash(body), true)
}

// collect reads the whole body, so that its hash is known, and its length.
func (f *Filter) collect(s *stream.Stream) ([]byte, error) {
	st := stream.State[state](s, f.slot)
	if st.buffer, _ = f.buffers.Get().(*[]byte); st.buffer == nil {
		st.buffer = new([]byte)
	}
	m := &s.Request
	var body []byte
	var err error
	if body, *st.buffer, err = m.Whole(*st.buffer, s.BufferLimit()); err != nil {
		return nil, err
	}
	st.body = *stream.NewBytes(body)
	m.Body, m.Length = &st.body, int64(len(body))
	if !m.Header.Has(header.ContentLength) {
		m.Header.SetInt(header.ContentLength, m.Length)
	}
	return body, nil
}

// sign adds the signature, if there are credentials: without them the request is sent
// as it is, and its service refuses it.
func (c *Settings) sign(s *stream.Stream, p sign.Payload, payload bool) error {
	now := time.Now()
	keys, err := c.from.Get(s.Running(), now)
	if err != nil {
		return err
	}
	ok := keys != nil && c.signer.Sign(s.Request.Header, &p, keys, now) == nil
	st := c.stats.At(s.Task().Loop().ID())
	if ok {
		st.Added.Inc()
	} else {
		st.Failed.Inc()
	}
	switch {
	case payload && ok:
		st.PayloadAdded.Inc()
	case payload:
		st.PayloadFailed.Inc()
	}
	return nil
}

// Response does nothing.
func (*Filter) Response(*stream.Stream) error { return nil }

// End gives the buffer back.
func (f *Filter) End(s *stream.Stream) {
	st := stream.State[state](s, f.slot)
	if b := st.buffer; b != nil && cap(*b) <= maxKept {
		f.buffers.Put(b)
	}
	st.buffer = nil
}
