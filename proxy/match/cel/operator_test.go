// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"testing"

	"weir.dev/weir/proxy/format"
)

func TestOperators(t *testing.T) {
	d := testData()
	d.Stream.Request = d.Request
	o := format.Options{Operators: Operators()}
	for text, want := range map[string]string{
		`%CEL(request.method)% %CEL(response.code)%`:                 "GET 404",
		`%CEL(request.headers['x-user'] + ")" )%`:                    "ann)",
		`%CEL(response.code >= 400 ? 'bad' : 'good'):2%`:             "ba",
		`%CEL(request.headers['none'])%`:                             "-",
		`%CEL(1 / 0)% %CEL(null)%`:                                   "- -",
		`%CEL(2u)% %CEL(1.5)% %CEL(true)% %CEL(b'x')%`:               "2 1.5 true x",
		`%CEL([1, 'a'])% %TYPED_CEL({'k': 1})%`:                      `[1,"a"] {"k":1}`,
		`%CEL(duration('90s'))% %CEL(timestamp(0) == request.time)%`: "90s false",
	} {
		f, err := format.Compile(text, o)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := string(f.AppendTo(nil, d.Stream)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	f, err := format.CompileJSON(map[string]any{"a": "%CEL(response.code)%", "b": "%TYPED_CEL(response.code)%", "c": "%TYPED_CEL(request.headers['none'])%", "d": "%TYPED_CEL({'k': [true]})%"}, o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(f.AppendTo(nil, d.Stream)), `{"a":"404","b":404,"c":null,"d":{"k":[true]}}`+"\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, text := range []string{`%CEL(request.)%`, `%CEL(nobody)%`, `%CEL%`} {
		if _, err := format.Compile(text, o); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
