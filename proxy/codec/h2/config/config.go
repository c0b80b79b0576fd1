// SPDX-License-Identifier: Apache-2.0

// Package config compiles Envoy's Http2ProtocolOptions, of a connection manager and
// of a cluster alike.
package config

import (
	_ "embed"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/codec/h2"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Downstream returns the options of a server's codec. What p leaves unset, which may
// be all of it, stays zero and is the codec's default. Errors begin with path, where
// p stands, and so does what warn gets to know, the fields without effect.
func Downstream(p *corev3.Http2ProtocolOptions, path string, warn func(path, reason string)) (h2.Options, error) {
	o, err := compile(p, path, warn)
	if v := p.GetStreamResetBurst(); v != nil {
		o.MaxPrematureResets = clamp(v.GetValue())
	}
	if v := p.GetStreamResetRate(); v != nil {
		o.PrematureResetRate = clamp(v.GetValue())
	}
	return o, err
}

// Upstream is Downstream for the codec of a client, who has no use for the limits of
// a client's resets.
func Upstream(p *corev3.Http2ProtocolOptions, path string, warn func(path, reason string)) (h2.Options, error) {
	const reason = "is ignored: it concerns connections from downstream"
	if p.GetStreamResetBurst() != nil {
		warn(path+".stream_reset_burst", reason)
	}
	if p.GetStreamResetRate() != nil {
		warn(path+".stream_reset_rate", reason)
	}
	return compile(p, path, warn)
}

// clamp keeps a number of resets within what a codec counts, and above 0, which
// would be its default.
func clamp(v uint64) uint32 { return uint32(min(max(v, 1), 1<<31)) }

func compile(p *corev3.Http2ProtocolOptions, path string, warn func(path, reason string)) (h2.Options, error) {
	if p == nil {
		return h2.Options{}, nil
	}
	if err := supported.Apply(p, path, warn); err != nil {
		return h2.Options{}, err
	}
	o := h2.Options{
		HPACKTableSize:                           p.GetHpackTableSize().GetValue(),
		NoHPACKTable:                             p.GetHpackTableSize() != nil && p.GetHpackTableSize().GetValue() == 0,
		MaxConcurrentStreams:                     p.GetMaxConcurrentStreams().GetValue(),
		InitialStreamWindow:                      p.GetInitialStreamWindowSize().GetValue(),
		InitialConnectionWindow:                  p.GetInitialConnectionWindowSize().GetValue(),
		AllowConnect:                             p.GetAllowConnect(),
		MaxOutboundFrames:                        p.GetMaxOutboundFrames().GetValue(),
		MaxOutboundControlFrames:                 p.GetMaxOutboundControlFrames().GetValue(),
		MaxConsecutiveInboundEmptyFrames:         p.GetMaxConsecutiveInboundFramesWithEmptyPayload().GetValue(),
		MaxInboundPriorityFramesPerStream:        p.GetMaxInboundPriorityFramesPerStream().GetValue(),
		MaxInboundWindowUpdateFramesPerDataFrame: p.GetMaxInboundWindowUpdateFramesPerDataFrameSent().GetValue(),
		KeepStreamOnError:                        p.GetStreamErrorOnInvalidHttpMessaging(), //nolint:staticcheck // deprecated, still read
		DisableHuffman:                           p.GetEnableHuffmanEncoding() != nil && !p.GetEnableHuffmanEncoding().GetValue(),
		DisallowObsText:                          p.GetDisallowObsText().GetValue(),
	}
	if v := p.GetOverrideStreamErrorOnInvalidHttpMessage(); v != nil {
		o.KeepStreamOnError = v.GetValue()
	}
	for i, s := range p.GetCustomSettingsParameters() {
		id := s.GetIdentifier().GetValue()
		if reserved(id) {
			return o, xds.Problem{
				Path:   fmt.Sprintf("%s.custom_settings_parameters[%d].identifier", path, i),
				Reason: fmt.Sprintf("setting %d has a field of its own or cannot be set", id), Remedy: "use the named field",
			}
		}
		o.CustomSettings = append(o.CustomSettings, h2.Setting{ID: uint16(id), Value: s.GetValue().GetValue()})
	}
	if k := p.GetConnectionKeepalive(); k != nil {
		o.KeepAlive = h2.KeepAlive{
			Interval: k.GetInterval().AsDuration(), Timeout: k.GetTimeout().AsDuration(),
			IdleInterval: k.GetConnectionIdleInterval().AsDuration(), Jitter: defaultJitter,
		}
		if v := k.GetIntervalJitter(); v != nil {
			o.KeepAlive.Jitter = v.GetValue()
		}
	}
	return o, nil
}

// defaultJitter is Envoy's interval_jitter in percent.
const defaultJitter = 15

// reserved reports whether a setting is the codec's own: table size, push, streams,
// window, and extended CONNECT.
func reserved(id uint32) bool {
	switch id {
	case 1, 2, 3, 4, 8:
		return true
	}
	return id > 1<<16-1
}
