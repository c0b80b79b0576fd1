// SPDX-License-Identifier: Apache-2.0

package call

import (
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Context is what a service is compiled with.
type Context struct {
	// Warn is told of a field that has no effect, by its path below the message.
	Warn func(path, reason string)
	// Hostname is what the metadata's %HOSTNAME% is.
	Hostname string
}

// CheckVersion refuses the version of Envoy's API that is no more (transport_api_version).
func CheckVersion(v corev3.ApiVersion) error {
	if v == corev3.ApiVersion_V2 { //nolint:staticcheck // Deprecated, still found.
		return errors.New("transport_api_version: V2 is no more: use V3")
	}
	return nil
}

// Compile compiles a gRPC service.
func Compile(m *corev3.GrpcService, in Context) (*Service, error) {
	if err := supported.Apply(m, "", in.Warn); err != nil {
		return nil, err
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	e := m.GetEnvoyGrpc()
	if e.GetClusterName() == "" {
		return nil, errors.New("envoy_grpc.cluster_name: is missing: name the cluster of the service")
	}
	if err := checkAuthority(e.GetAuthority()); err != nil {
		return nil, fmt.Errorf("envoy_grpc.authority: %w", err)
	}
	s := &Service{
		Cluster: e.GetClusterName(), Authority: e.GetAuthority(), Timeout: m.GetTimeout().AsDuration(),
		Limit: int(e.GetMaxReceiveMessageLength().GetValue()),
	}
	var list []*corev3.HeaderValueOption
	for _, h := range m.GetInitialMetadata() {
		list = append(list, &corev3.HeaderValueOption{Header: h})
	}
	if len(list) > 0 {
		var err error
		if s.Metadata, err = route.CompileHeaders("initial_metadata", list, in.headers()); err != nil {
			return nil, err
		}
	}
	var err error
	if s.Retry, err = CompileRetry(m.GetRetryPolicy()); err != nil {
		return nil, fmt.Errorf("retry_policy.%w", err)
	}
	return s, nil
}

func (in Context) headers() route.Context {
	o := format.Options{OmitEmpty: true, Hostname: in.Hostname}
	return route.Context{CompileFormat: func(s string) (route.Formatter, error) { return format.Compile(s, o) }}
}

// CompileURI compiles the URI of a service of HTTP. Calls name the URI's host, and go to
// the cluster.
func CompileURI(m *corev3.HttpUri) (*Service, error) {
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	text := m.GetUri()
	if !strings.Contains(text, "://") { // "example.com/keys", as Envoy takes it.
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("uri: %w", err)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("uri: %q has no host: write it as https://HOST/PATH", m.GetUri())
	}
	s := &Service{Cluster: m.GetCluster(), Authority: u.Host, Path: u.RequestURI(), Timeout: m.GetTimeout().AsDuration()}
	if err := checkAuthority(s.Authority); err != nil {
		return nil, fmt.Errorf("uri: %w", err)
	}
	if err := CheckPath(s.Path); err != nil {
		return nil, fmt.Errorf("uri: %w", err)
	}
	return s, nil
}

// CompileHTTP compiles a service of HTTP with the fields that its requests have.
func CompileHTTP(m *corev3.HttpService, in Context) (*Service, error) {
	if m.GetHttpUri() == nil {
		return nil, errors.New("http_uri: is missing: say where the service is")
	}
	if len(m.GetFormatters()) > 0 {
		return nil, errors.New("formatters: are not supported here: leave them out")
	}
	s, err := CompileURI(m.GetHttpUri())
	if err != nil {
		return nil, fmt.Errorf("http_uri.%w", err)
	}
	if len(m.GetRequestHeadersToAdd()) > 0 {
		s.Metadata, err = route.CompileHeaders("request_headers_to_add", m.GetRequestHeadersToAdd(), in.headers())
	}
	return s, err
}

func checkAuthority(a string) error {
	if CheckPath(a) != nil {
		return fmt.Errorf("%q is not the name of a host", a)
	}
	return nil
}

// Back-off between tries by default.
const (
	defaultBase = 25 * time.Millisecond
	times       = 10 // that the longest is of the base
)

// CompileRetry compiles a retry policy; nil makes nil.
func CompileRetry(m *corev3.RetryPolicy) (*Retry, error) {
	if m == nil {
		return nil, nil
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	on, unknown := route.ParseRetryOn(m.GetRetryOn())
	const cannot = route.RetryStatusCodes | route.RetryHeaders | route.RetryHTTP3PostConnect
	switch {
	case unknown != "":
		return nil, fmt.Errorf("retry_on: condition %q is not known", unknown)
	case on&cannot != 0:
		return nil, errors.New("retry_on: retriable-status-codes, retriable-headers and http3-post-connect-failure say nothing here: remove them")
	}
	r := &Retry{On: on, Max: 1, Base: defaultBase, Most: times * defaultBase}
	if n := m.GetNumRetries(); n != nil {
		r.Max = int(n.GetValue())
	}
	if b := m.GetRetryBackOff(); b != nil {
		r.Base = max(b.GetBaseInterval().AsDuration(), time.Millisecond)
		r.Most = times * r.Base
		if d := b.GetMaxInterval(); d != nil {
			if r.Most = d.AsDuration(); r.Most < r.Base {
				return nil, errors.New("retry_back_off.max_interval: is shorter than base_interval")
			}
		}
	}
	return r, nil
}
