// SPDX-License-Identifier: Apache-2.0

package jwtauthn

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"math"
	"strconv"
	"strings"

	"weir.dev/weir/internal/jose"
	"weir.dev/weir/proxy/header"
)

// claimHeader is a claim that is copied into a header.
type claimHeader struct {
	header header.Name
	path   []string
}

// verified is a token, and what is handed on of it. It is immutable: streams share it.
type verified struct {
	token   *jose.Token
	payload map[string]any
	headers []headerValue
	claimed bool // headers has claims
}

type headerValue struct {
	name  header.Name
	value string
}

// read makes of a token what the provider hands on.
func (p *provider) read(t *jose.Token) *verified {
	out := &verified{token: t, payload: t.Payload}
	if !p.payloadHeader.IsZero() {
		value := t.EncodedPayload
		if p.pad {
			value += strings.Repeat("=", (4-len(value)%4)%4)
		}
		out.headers = append(out.headers, headerValue{p.payloadHeader, value})
	}
	for _, c := range p.claims {
		v, ok := t.Claim(c.path...)
		if !ok {
			continue
		}
		if text := claimText(v); text != "" {
			out.headers = append(out.headers, headerValue{c.header, text})
			out.claimed = true
		}
	}
	if len(p.spaced) > 0 {
		out.payload = maps.Clone(t.Payload)
	}
	for _, name := range p.spaced {
		text, ok := t.Payload[name].(string)
		if !ok {
			continue
		}
		list := []any{}
		for f := range strings.FieldsSeq(text) {
			list = append(list, f)
		}
		out.payload[name] = list
	}
	return out
}

// claimText is a claim as a header has it: lists and objects as JSON in base64. A claim
// that could not stand in a header is none.
func claimText(v any) string {
	switch x := v.(type) {
	case string:
		if strings.ContainsFunc(x, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return ""
		}
		return x
	case bool:
		return strconv.FormatBool(x)
	case float64:
		if x >= 0 && x < math.MaxUint64 && x == math.Trunc(x) {
			return strconv.FormatUint(uint64(x), 10)
		}
		return strconv.FormatFloat(x, 'f', 6, 64)
	case []any, map[string]any:
		b, err := json.Marshal(x)
		if err != nil {
			return ""
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	return ""
}
