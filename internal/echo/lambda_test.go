// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLambda(t *testing.T) {
	const arn = "arn:aws:lambda:us-east-1:123456789012:function:hello"
	const event = `{"raw_path":"/a?b=c","method":"GET","headers":{"x-a":"1"},"query_string_parameters":{},"body":"","is_base64_encoded":false}`
	tests := []struct {
		name, event, auth, kind string
		status                  int
		body                    string
	}{
		{"an event", event, "AWS4-HMAC-SHA256 Credential=KEY/x, SignedHeaders=host, Signature=y", "RequestResponse", 200,
			`{"body":"{\"name\":\"me\",\"function\":\"` + arn + `\",\"access_key\":\"KEY\",\"method\":\"GET\",\"path\":\"/a?b=c\",\"headers\":{\"x-a\":\"1\"},\"body\":\"\",\"is_base64_encoded\":false}\n","headers":{"content-type":"application/json","x-echo-name":"me"},"statusCode":200}` + "\n"},
		{"a status", strings.Replace(event, "b=c", "status=404", 1), "AWS4-HMAC-SHA256 Credential=KEY/x", "RequestResponse", 200, `"statusCode":404}`},
		{"an option that is none", strings.Replace(event, "b=c", "status=7", 1), "AWS4-HMAC-SHA256 Credential=KEY/x", "RequestResponse", 200, `"statusCode":400}`},
		{"something else", `[1]`, "AWS4-HMAC-SHA256 Credential=KEY/x", "RequestResponse", 200, `[1]`},
		{"not signed", event, "", "RequestResponse", 403, `{"message":"Missing Authentication Token"}`},
		{"not waited for", event, "AWS4-HMAC-SHA256 Credential=KEY/x", "Event", 202, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/2015-03-31/functions/"+arn+"/invocations", strings.NewReader(tt.event))
			r.Header.Set("Authorization", tt.auth)
			r.Header.Set("X-Amz-Invocation-Type", tt.kind)
			w := httptest.NewRecorder()
			Handler("me").ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) || tt.body == "" && w.Body.Len() > 0 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
