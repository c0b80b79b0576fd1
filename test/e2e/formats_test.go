// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"weir.dev/weir/control/build"
	"weir.dev/weir/proxy/format"
)

// TestFormats: a format that the control plane lets through is one that proxies take. They would refuse the whole table
// of routes for another.
func TestFormats(t *testing.T) {
	for _, operator := range []string{"REQ", "RESP", "TRAILER", "REQ_WITHOUT_QUERY", "DYNAMIC_METADATA", "FILTER_STATE", "START_TIME", "UPSTREAM_METADATA", "PROTOCOL", "CEL", "RESPONSE_FLAGS"} {
		for _, argument := range []string{
			"", "()", "(a)", "(a b)", "(:path)", "(:PATH?x-a)", "(?)", "(a?)", "(?b)", "(a?b?c)", "(a:b)", "(a:b:c)", "(a))", "(()", "(a(b))", "(é)", "(\n)", "(a\x00)", "( )", "(a:)", "(:)",
			"(x:PLAIN)", "(x:plain)", "(x:PLAIN:y)", "(x:FIELD)", "(x:FIELD:y)", "(x:FIELD:y:z)", `("a")`, `(["a","b"])`, "(\xff)",
		} {
			for _, length := range []string{"", ":1", ":0", ":-1", ":a", ":99999999999999999999"} {
				check(t, "%"+operator+argument+length+"%")
			}
		}
	}
}

func FuzzFormats(f *testing.F) {
	f.Add("%REQ(:path?x):3% %% %RESPONSE_CODE%")
	f.Add("%FILTER_STATE(a:FIELD:b)%")
	f.Fuzz(func(t *testing.T, text string) { check(t, text) })
}

func check(t *testing.T, text string) {
	if build.BadFormat(text) != "" {
		return
	}
	if _, err := format.Compile(text, format.Options{OmitEmpty: true}); err != nil {
		t.Errorf("%q: %v", text, err)
	}
}
