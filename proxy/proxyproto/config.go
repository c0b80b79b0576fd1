// SPDX-License-Identifier: Apache-2.0

package proxyproto

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/proxy/streaminfo"
)

// A Loader compiles the format of a TLV's value.
type Loader func(m *corev3.SubstitutionFormatString) (Formatter, error)

// NewSender compiles a ProxyProtocolConfig; nil is version 1.
func NewSender(m *corev3.ProxyProtocolConfig, load Loader) (*Sender, error) {
	s := &Sender{v2: m.GetVersion() == corev3.ProxyProtocolConfig_V2}
	if p := m.GetPassThroughTlvs(); p != nil {
		s.passAll = p.GetMatchType() == corev3.ProxyProtocolPassThroughTLVs_INCLUDE_ALL
		for _, n := range p.GetTlvType() {
			s.pass[byte(n)] = true // Envoy's message allows for no more than 255.
		}
	}
	var err error
	if s.added, err = compile(m.GetAddedTlvs(), "added_tlvs", load); err != nil {
		return nil, err
	}
	for _, a := range s.added {
		s.own[a.Type] = true
	}
	if !s.v2 && (m.GetPassThroughTlvs() != nil || len(m.GetAddedTlvs()) > 0) {
		return nil, errors.New("version: version 1 has no TLVs: set version: V2, or remove pass_through_tlvs and added_tlvs")
	}
	return s, nil
}

func compile(list []*corev3.TlvEntry, field string, load Loader) ([]added, error) {
	var out []added
	for i, e := range list {
		a := added{TLV: TLV{Type: byte(e.GetType()), Value: e.GetValue()}}
		switch {
		case len(e.GetValue()) > 0 && e.GetFormatString() != nil:
			return nil, fmt.Errorf("%s[%d]: only one of value and format_string may be set", field, i)
		case len(e.GetValue()) > 65535:
			return nil, fmt.Errorf("%s[%d].value: longer than the 65535 bytes of a header", field, i)
		case e.GetFormatString() != nil:
			f, err := load(e.GetFormatString())
			if err != nil {
				return nil, fmt.Errorf("%s[%d].format_string.%w", field, i, err)
			}
			a.format = f
		}
		out = append(out, a)
	}
	return out, nil
}

// TLVs are values to give a connection for the header that is sent for it.
type TLVs struct{ list []added }

// NewTLVs compiles a list of TLVs; field is its name, for messages.
func NewTLVs(list []*corev3.TlvEntry, field string, load Loader) (*TLVs, error) {
	l, err := compile(list, field, load)
	return &TLVs{l}, err
}

// Values returns the values for a connection.
func (t *TLVs) Values(info *streaminfo.Stream) []TLV {
	var out []TLV
	for _, a := range t.list {
		if a.format != nil {
			a.Value = a.format.AppendTo(nil, info)
		}
		out = append(out, a.TLV)
	}
	return out
}
