// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"strings"
	"testing"

	"weir.dev/weir/xds"
)

func TestWrite(t *testing.T) {
	problems := []xds.Problem{
		{Kind: "HTTPRoute", Name: "default/shop", Path: "spec.rules[0]", File: "a.yaml", Line: 3, Reason: "is wrong", Remedy: "be right"},
		{Severity: xds.Warning, Reason: "odd"},
	}
	for format, wants := range map[Format][]string{
		Text:  {"a.yaml:3: HTTPRoute \"default/shop\": spec.rules[0]: is wrong (be right)\nwarning: odd\n"},
		JSON:  {`"line": 3`, `"severity": "warning"`},
		SARIF: {`"uri": "a.yaml"`, `"startLine": 3`, `"ruleId": "HTTPRoute"`, `"level": "warning"`, `"text": "HTTPRoute \"default/shop\": spec.rules[0]: is wrong (be right)"`},
	} {
		var b strings.Builder
		if err := Write(&b, format, problems); err != nil {
			t.Fatal(err)
		}
		if format != Text && !json.Valid([]byte(b.String())) {
			t.Errorf("%s: not JSON:\n%s", format, b.String())
		}
		for _, want := range wants {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: %q is missing in\n%s", format, want, b.String())
			}
		}
	}
	if err := Write(&strings.Builder{}, "xml", nil); err == nil {
		t.Error("xml was taken")
	}
}
