// SPDX-License-Identifier: Apache-2.0

package http

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/upstream/health"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.health_checkers.http"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() health.Factory {
	return health.Factory{
		Name: Name, Kind: health.HTTP, Field: "http_health_check", Fields: supported, New: compile,
		Config: func(m *corev3.HealthCheck) proto.Message {
			if c := m.GetHttpHealthCheck(); c != nil {
				return c
			}
			return nil
		},
	}
}

// defaultBuffer is how much of a response is searched.
const defaultBuffer = 1024

func compile(cfg proto.Message) (health.Checker, error) {
	m, ok := cfg.(*corev3.HealthCheck_HttpHealthCheck)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	c := &checker{
		host: m.GetHost(), path: m.GetPath(), method: "GET", expected: []span{{200, 201}},
		alpn: m.GetUseAlpnProtocol(), buffer: defaultBuffer,
	}
	if m.GetMethod() != corev3.RequestMethod_METHOD_UNSPECIFIED {
		c.method = m.GetMethod().String()
	}
	var errs []error
	fail := func(path, reason, remedy string) {
		errs = append(errs, xds.Problem{Severity: xds.Error, Path: path, Reason: reason, Remedy: remedy})
	}
	switch m.GetCodecClientType() {
	case typev3.CodecClientType_HTTP2:
		c.speak = health.SpeakHTTP2
	case typev3.CodecClientType_HTTP3:
		fail("codec_client_type", "HTTP/3 is not spoken", "use HTTP1 or HTTP2")
	case typev3.CodecClientType_HTTP1:
	}
	if v := m.GetResponseBufferSize(); v != nil {
		c.buffer = v.GetValue()
	}
	var err error
	if s := m.GetSend(); s != nil {
		if c.send, err = health.ParsePayload("send", s); err != nil {
			errs = append(errs, err)
		}
		switch c.method {
		case "GET", "HEAD", "DELETE", "TRACE":
			fail("send", "a request with method "+c.method+" has no body", "choose method POST, PUT, PATCH or OPTIONS")
		}
	}
	if c.receive, err = health.ParsePayload("receive", m.GetReceive()...); err != nil {
		errs = append(errs, err)
	}
	if c.buffer > 0 && uint64(c.receive.Size()) > c.buffer {
		fail("receive", fmt.Sprintf("is %d bytes long, but only %d of a response are looked at", c.receive.Size(), c.buffer), "give a larger response_buffer_size")
	}
	if len(m.GetExpectedStatuses()) > 0 {
		c.expected = spans("expected_statuses", m.GetExpectedStatuses(), fail)
	}
	c.retriable = spans("retriable_statuses", m.GetRetriableStatuses(), fail)
	if s := m.GetServiceNameMatcher(); s != nil {
		if c.service, err = match.CompileString(s); err != nil {
			fail("service_name_matcher", err.Error(), "")
		}
	}
	if err := c.headers(m, fail); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

func (c *checker) headers(m *corev3.HealthCheck_HttpHealthCheck, fail func(path, reason, remedy string)) error {
	for i, s := range m.GetRequestHeadersToRemove() {
		if s == "" || s[0] == ':' || strings.EqualFold(s, "host") {
			fail(fmt.Sprintf("request_headers_to_remove[%d]", i), fmt.Sprintf("%q cannot be removed", s), "name another header; the host is set by host")
			continue
		}
		c.remove = append(c.remove, header.NewName(strings.ToLower(s)))
	}
	o := format.Options{OmitEmpty: true}
	var err error
	c.add, err = route.CompileHeaders("request_headers_to_add", m.GetRequestHeadersToAdd(), route.Context{
		CompileFormat: func(s string) (route.Formatter, error) { return format.Compile(s, o) },
	})
	return err
}

// spans compiles ranges of statuses.
func spans(field string, list []*typev3.Int64Range, fail func(path, reason, remedy string)) []span {
	var out []span
	for i, r := range list {
		if r.GetStart() < 100 || r.GetEnd() > 600 || r.GetStart() >= r.GetEnd() {
			fail(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%d to below %d is no range of statuses", r.GetStart(), r.GetEnd()),
				"give a start of at least 100 and an end above it, of at most 600; the end itself is not in the range")
			continue
		}
		out = append(out, span{int(r.GetStart()), int(r.GetEnd())})
	}
	return out
}
