// SPDX-License-Identifier: Apache-2.0

// Package config compiles Envoy's Http2ProtocolOptions, of a connection manager and
// of a cluster alike.
package config

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/codec/h2"
)

// Compile returns the options of a codec. What p leaves unset, which may be all of
// it, stays zero and is the codec's default. The error names the field below p.
func Compile(p *corev3.Http2ProtocolOptions) (h2.Options, error) {
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
			return o, fmt.Errorf("custom_settings_parameters[%d].identifier: setting %d has a field of its own or cannot be set: use the named field", i, id)
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
