// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"encoding/json"
	"testing"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
)

// FuzzLabels: whatever labels say, they are read or told, and what is read can be asked.
func FuzzLabels(f *testing.F) {
	f.Add(`{"a":[{"b":[{"request_headers":{"key":"k","header_name":":path","omit_if_not_present":true}},{"generic_key":{"value":"v"}}]}]}`)
	f.Add(`{"a":[{"b":["remote_address","word",{"k":{"header":"x"}},{"generic_key":"v","v3Key":"k"}]}]}`)
	f.Add(`{"a":[{"b":[{"remote_address":{"key":"x"}},{"header_value_match":{"value":1}},7]},{}],"c":7}`)
	f.Fuzz(func(t *testing.T, text string) {
		var in map[string]any
		if json.Unmarshal([]byte(text), &in) != nil {
			return
		}
		told := 0
		for _, groups := range readLabels("labels", in, func(string, string, string, ...any) { told++ }) {
			for _, g := range groups {
				for _, l := range g {
					if err := l.action().ValidateAll(); err != nil && told == 0 {
						t.Errorf("%s: %v", text, err)
					}
				}
			}
		}
	})
}

// FuzzOverrides: whatever the bodies of errors say, they are read or told.
func FuzzOverrides(f *testing.F) {
	f.Add(`[{"on_status_code":404,"body":{"text_format":"%REQ(:PATH)%","content_type":"a/b"}},{"on_status_code":500,"body":{"json_format":{"a":1,"b":true}}}]`)
	f.Add(`[{"on_status_code":1,"body":{"text_format_source":{"filename":""}}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		var in []emissaryv3.ErrorResponseOverride
		if json.Unmarshal([]byte(text), &in) != nil {
			return
		}
		told := 0
		if got := readOverrides(in, func(string, string, string, ...any) { told++ }); len(got) < len(in) && told == 0 {
			t.Errorf("%s: nothing is told of what is left out", text)
		}
	})
}
