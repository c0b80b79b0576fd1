// SPDX-License-Identifier: Apache-2.0

package tcpproxy

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"

	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/route"
)

// tunnelling compiles tunneling_config.
func (b *builder) tunnelling() error {
	m := b.proto.GetTunnelingConfig()
	if m == nil {
		return nil
	}
	t := &tunnelConfig{
		post: m.GetUsePost(), path: cmp.Or(m.GetPostPath(), "/"),
		keepHeaders: m.GetPropagateResponseHeaders(), keepTrailers: m.GetPropagateResponseTrailers(),
		idKey: cmp.Or(m.GetRequestIdMetadataKey(), "tunnel_request_id"),
	}
	if m.GetPostPath() != "" && !t.post {
		return errors.New("tunneling_config.post_path: has no meaning without use_post: set it, or remove post_path")
	}
	if t.path[0] != '/' {
		return errors.New("tunneling_config.post_path: does not begin with a slash: add it")
	}
	o := format.Options{OmitEmpty: true, Hostname: b.in.Node.Hostname}
	var err error
	if t.hostname, err = format.Compile(m.GetHostname(), o); err != nil {
		return fmt.Errorf("tunneling_config.hostname: %w", err)
	}
	headers, problems := route.CompileHeaders("headers_to_add", m.GetHeadersToAdd(), route.Context{
		CompileFormat: func(s string) (route.Formatter, error) { return format.Compile(s, o) },
	})
	for _, p := range problems {
		return fmt.Errorf("tunneling_config.%s: %s", p.Path, p.Reason)
	}
	t.headers = headers
	if x := m.GetRequestIdExtension(); x != nil {
		var u uuidv3.UuidRequestIdConfig
		if err := x.GetTypedConfig().UnmarshalTo(&u); err != nil {
			return fmt.Errorf("tunneling_config.request_id_extension: %s is not supported: use envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", x.GetTypedConfig().MessageName())
		}
		name := strings.ToLower(cmp.Or(m.GetRequestIdHeader(), "x-request-id"))
		if name[0] == ':' || name == "host" {
			return fmt.Errorf("tunneling_config.request_id_header: %q cannot be set: name a header of your own", name)
		}
		t.idHeader = header.NewName(name)
	}
	b.cfg.tunnel = t
	return nil
}

// tlvs compiles proxy_protocol_tlvs.
func (b *builder) tlvs() error {
	if len(b.proto.GetProxyProtocolTlvs()) == 0 {
		return nil
	}
	l := &format.Loader{Options: format.Options{Hostname: b.in.Node.Hostname}}
	var err error
	b.cfg.tlvs, err = proxyproto.NewTLVs(b.proto.GetProxyProtocolTlvs(), "proxy_protocol_tlvs", func(f *corev3.SubstitutionFormatString) (proxyproto.Formatter, error) { return l.Load(f) })
	switch b.proto.GetProxyProtocolTlvMergePolicy() {
	case tcpproxyv3.ProxyProtocolTlvMergePolicy_OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD:
		b.cfg.merge = overwriteTLVs
	case tcpproxyv3.ProxyProtocolTlvMergePolicy_APPEND_IF_EXISTS_OR_ADD:
		b.cfg.merge = appendTLVs
	}
	return err
}
