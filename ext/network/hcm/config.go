// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h1"
	"weir.dev/weir/proxy/codec/h2"
	h2config "weir.dev/weir/proxy/codec/h2/config"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: Name, Config: &hcmv3.HttpConnectionManager{}, Terminal: true,
		Handler: func(cfg proto.Message, c *extension.Network) (conn.Factory, error) {
			return New(cfg.(*hcmv3.HttpConnectionManager), c)
		},
	}
}

// New compiles a connection manager.
func New(p *hcmv3.HttpConnectionManager, c *extension.Network) (*Manager, error) {
	m := &Manager{drain: c.Draining, log: c.Log("http"), node: node{c.Node.ID, c.Node.Cluster}, offers: c.Resources}
	b := &builder{Manager: m, in: c, proto: p, scope: c.Stats.Scope("http." + stats.Sanitize(p.GetStatPrefix()))}
	if err := supported.Apply(p, "", b.warn()); err != nil {
		return nil, err
	}
	if err := b.build(); err != nil {
		return nil, err
	}
	m.stats = stats.Register[Stats](b.scope, len(c.Loops))
	m.h2 = stats.Register[h2.Stats](c.Stats.Scope("http2."), len(c.Loops))
	c.Own(m.Close)
	m.govern(c.Overload, p.GetAppendLocalOverload())
	m.workers = make([]worker, len(c.Loops))
	for i := range m.workers {
		w := &m.workers[i]
		w.m, w.loop, w.stats, w.h2, w.rand = m, c.Loops[i], m.stats.At(i), m.h2.At(i), newRandom()
	}
	return m, nil
}

// builder compiles one connection manager.
type builder struct {
	*Manager
	in    *extension.Network
	proto *hcmv3.HttpConnectionManager
	scope *stats.Scope
}

// warn is for fields without effect.
func (b *builder) warn() func(path, reason string) {
	return b.in.Warn("connection manager", "stat_prefix", b.proto.GetStatPrefix())
}

func (b *builder) build() error {
	for _, step := range []func() error{b.codec, b.times, b.addresses, b.early, b.paths, b.identity, b.upgradeTypes, b.replies, b.accessLogs, b.tracer, b.routes} {
		if err := step(); err != nil {
			return err
		}
	}
	b.cfg.codecH2.HeadTimeout = b.headTimeout()
	return b.filters(&b.chain, b.proto.GetHttpFilters(), "http_filters")
}

func (b *builder) codec() error {
	p, cfg := b.proto, &b.cfg
	switch p.GetCodecType() {
	case hcmv3.HttpConnectionManager_HTTP1:
		cfg.kind = onlyHTTP1
	case hcmv3.HttpConnectionManager_HTTP2:
		cfg.kind = onlyHTTP2
	case hcmv3.HttpConnectionManager_HTTP3:
		return errors.New("codec_type: HTTP3 is not supported yet: use AUTO, HTTP1 or HTTP2")
	default:
	}
	common, o := p.GetCommonHttpProtocolOptions(), p.GetHttpProtocolOptions()
	cfg.codec = h1.Options{
		MaxHeadBytes:         int(orUint(p.GetMaxRequestHeadersKb(), 60)) << 10,
		MaxHeaders:           int(orUint(common.GetMaxHeadersCount(), 100)),
		AcceptHTTP10:         o.GetAcceptHttp_10(),
		DefaultHostForHTTP10: o.GetDefaultHostForHttp_10(),
		AllowAbsoluteURL:     orBool(o.GetAllowAbsoluteUrl(), true),
		AllowChunkedLength:   o.GetAllowChunkedLength(),
		AllowCustomMethods:   o.GetAllowCustomMethods(),
		EnableTrailers:       o.GetEnableTrailers(),
	}
	var err error
	if cfg.codecH2, err = h2config.Downstream(p.GetHttp2ProtocolOptions(), "http2_protocol_options", b.warn()); err != nil {
		return err
	}
	cfg.codecH2.MaxHeadBytes, cfg.codecH2.MaxHeaders = cfg.codec.MaxHeadBytes, cfg.codec.MaxHeaders
	switch common.GetHeadersWithUnderscoresAction() {
	case corev3.HttpProtocolOptions_REJECT_REQUEST:
		cfg.codec.Underscores = codec.UnderscoresReject
	case corev3.HttpProtocolOptions_DROP_HEADER:
		cfg.codec.Underscores = codec.UnderscoresDrop
	default:
	}
	cfg.codecH2.Underscores = cfg.codec.Underscores
	switch f := o.GetHeaderKeyFormat().GetHeaderFormat().(type) {
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_ProperCaseWords_:
		cfg.codec.Case = h1.ProperCase
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter:
		if err := b.preserveCase(f.StatefulFormatter); err != nil {
			return fmt.Errorf("http_protocol_options.header_key_format.stateful_formatter: %w", err)
		}
	}
	cfg.serverName = p.GetServerName()
	if cfg.serverName == "" {
		cfg.serverName = "envoy"
	}
	cfg.serverHeader = serverHeader(p.GetServerHeaderTransformation())
	cfg.maxRequests = uint64(common.GetMaxRequestsPerConnection().GetValue())
	return nil
}

func (b *builder) preserveCase(f *corev3.TypedExtensionConfig) error {
	var p preservecasev3.PreserveCaseFormatterConfig
	if err := f.GetTypedConfig().UnmarshalTo(&p); err != nil {
		return fmt.Errorf("%s is not supported: use envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig", f.GetTypedConfig().MessageName())
	}
	if p.GetForwardReasonPhrase() {
		return errors.New("forward_reason_phrase: not supported: reason phrases are the standard ones; remove the field")
	}
	b.cfg.codec.PreserveCase = true
	if p.GetFormatterTypeOnEnvoyHeaders() == preservecasev3.PreserveCaseFormatterConfig_PROPER_CASE {
		b.cfg.codec.Case = h1.ProperCase
	}
	return nil
}

func (b *builder) times() error {
	p, cfg := b.proto, &b.cfg
	common := p.GetCommonHttpProtocolOptions()
	cfg.idleTimeout = orDuration(common.GetIdleTimeout(), time.Hour)
	cfg.maxConnection = orDuration(common.GetMaxConnectionDuration(), 0)
	cfg.maxStream = orDuration(common.GetMaxStreamDuration(), 0)
	cfg.streamIdle = orDuration(p.GetStreamIdleTimeout(), 5*time.Minute)
	cfg.requestTimeout = orDuration(p.GetRequestTimeout(), 0)
	cfg.headersTimeout = orDuration(p.GetRequestHeadersTimeout(), 0)
	cfg.delayedClose = orDuration(p.GetDelayedCloseTimeout(), time.Second)
	return nil
}

func (b *builder) addresses() error {
	p, cfg := b.proto, &b.cfg
	cfg.useRemoteAddress = p.GetUseRemoteAddress().GetValue()
	cfg.xffHops = int(p.GetXffNumTrustedHops())
	cfg.skipXFFAppend = p.GetSkipXffAppend()
	cfg.mapV4 = p.GetRepresentIpv4RemoteAddressAsIpv4MappedIpv6()
	cfg.appendPort = p.GetAppendXForwardedPort()
	d := p.GetSetCurrentClientCertDetails()
	cfg.xfcc = xfcc{
		mode: xfccMode(p.GetForwardClientCertDetails()), cert: d.GetCert(), chain: d.GetChain(), subject: d.GetSubject().GetValue(),
		uri: d.GetUri(), dns: d.GetDns(), issuer: d.GetIssuer(),
	}
	cfg.internal.unix = p.GetInternalAddressConfig().GetUnixSockets()
	for i, r := range p.GetInternalAddressConfig().GetCidrRanges() {
		prefix, err := match.CompilePrefix(r)
		if err != nil {
			return fmt.Errorf("internal_address_config.cidr_ranges[%d]: %w", i, err)
		}
		cfg.internal.prefixes = append(cfg.internal.prefixes, prefix)
	}
	exts := p.GetOriginalIpDetectionExtensions()
	if len(exts) > 0 && (cfg.useRemoteAddress || cfg.xffHops > 0) {
		return errors.New("original_ip_detection_extensions: cannot be combined with use_remote_address or xff_num_trusted_hops: remove one of them")
	}
	for i, e := range exts {
		d, err := newDetector(e)
		if err != nil {
			return fmt.Errorf("original_ip_detection_extensions[%d]: %w", i, err)
		}
		cfg.detect = append(cfg.detect, d)
	}
	if len(exts) == 0 && !cfg.useRemoteAddress {
		cfg.detect = []detector{&xffDetector{hops: cfg.xffHops}}
	}
	return nil
}

func (b *builder) paths() error {
	p, cfg := b.proto, &b.cfg
	cfg.normalizePath = p.GetNormalizePath().GetValue()
	cfg.mergeSlashes = p.GetMergeSlashes()
	switch p.GetPathWithEscapedSlashesAction() {
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		cfg.escapedSlashes = slashesReject
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		cfg.escapedSlashes = slashesRedirect
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		cfg.escapedSlashes = slashesForward
	default:
	}
	cfg.stripMatchingPort = p.GetStripMatchingHostPort()
	cfg.stripAnyPort = p.GetStripAnyHostPort()
	cfg.stripDot = p.GetStripTrailingHostDot()
	if t := p.GetSchemeHeaderTransformation(); t != nil {
		cfg.scheme = t.GetSchemeToOverwrite()
	}
	return nil
}

func (b *builder) identity() error {
	p, cfg := b.proto, &b.cfg
	cfg.via = p.GetVia()
	if p.GetAddUserAgent().GetValue() {
		cfg.userAgent = b.in.Node.Cluster
	}
	cfg.generateID = orBool(p.GetGenerateRequestId(), true)
	cfg.preserveID = p.GetPreserveExternalRequestId()
	cfg.alwaysID = p.GetAlwaysSetRequestIdInResponse()
	cfg.proxy100 = p.GetProxy_100Continue()
	cfg.packReason, cfg.sampleByID = true, true
	if r := p.GetRequestIdExtension(); r != nil {
		var u uuidv3.UuidRequestIdConfig
		if err := r.GetTypedConfig().UnmarshalTo(&u); err != nil {
			return fmt.Errorf("request_id_extension: %s is not supported: use envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", r.GetTypedConfig().MessageName())
		}
		cfg.packReason = orBool(u.GetPackTraceReason(), true)
		cfg.sampleByID = orBool(u.GetUseRequestIdForTraceSampling(), true)
	}
	return nil
}

func (b *builder) upgradeTypes() error {
	for i, u := range b.proto.GetUpgradeConfigs() {
		e := upgrade{name: strings.ToLower(u.GetUpgradeType()), enabled: orBool(u.GetEnabled(), true)}
		if kind, ok := b.upgrade([]byte(e.name)); ok && kind != nil {
			return fmt.Errorf("upgrade_configs[%d]: %q is configured twice: remove one", i, u.GetUpgradeType())
		}
		if fs := u.GetFilters(); len(fs) > 0 {
			e.chain = newChain()
			if err := b.filters(e.chain, fs, fmt.Sprintf("upgrade_configs[%d].filters", i)); err != nil {
				return err
			}
		}
		if e.name == "h2c" {
			// The connection itself changes: it is none of the streams'.
			if e.chain != nil {
				return fmt.Errorf("upgrade_configs[%d].filters: h2c changes the protocol of the connection and has no filters of its own: remove them", i)
			}
			b.cfg.codec.UpgradeH2C = e.enabled
			continue
		}
		b.cfg.upgrades = append(b.cfg.upgrades, e)
	}
	return nil
}

func (b *builder) accessLogs() error {
	for i, l := range b.proto.GetAccessLog() {
		log, err := b.in.AccessLogs.Load(l)
		if err != nil {
			return fmt.Errorf("access_log[%d]: %w", i, err)
		}
		b.logs = append(b.logs, log)
	}
	o := b.proto.GetAccessLogOptions()
	b.cfg.logNewRequest = o.GetFlushAccessLogOnNewRequest() || b.proto.GetFlushAccessLogOnNewRequest()
	b.cfg.logTunnel = o.GetFlushLogOnTunnelSuccessfullyEstablished()
	b.cfg.logInterval = orDuration(o.GetAccessLogFlushInterval(), orDuration(b.proto.GetAccessLogFlushInterval(), 0))
	return nil
}

func orUint(v *wrapperspb.UInt32Value, d uint32) uint32 {
	if v == nil {
		return d
	}
	return v.GetValue()
}

func orBool(v *wrapperspb.BoolValue, d bool) bool {
	if v == nil {
		return d
	}
	return v.GetValue()
}

func orDuration(v *durationpb.Duration, d time.Duration) time.Duration {
	if v == nil {
		return d
	}
	return v.AsDuration()
}
