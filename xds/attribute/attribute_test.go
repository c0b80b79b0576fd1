// SPDX-License-Identifier: Apache-2.0

package attribute

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, text := range []string{"response.code >= 400", "request.headers['x-a'] == 'b' && source.address != ''", "true"} {
		if err := Check(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"response.code >=": "Syntax error", "unknown.x == 1": "undeclared reference", "1 + 'a'": "no matching overload",
		strings.Repeat(" ", maxExpression+1): "is longer than", strings.Repeat("(", 1000): "", "": "",
	} {
		if err := Check(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("response.code >= 400")
	f.Add("[1,2].exists(x, x == request.size)")
	f.Fuzz(func(t *testing.T, text string) { _ = Check(text) })
}
