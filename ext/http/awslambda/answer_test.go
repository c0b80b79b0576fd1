// SPDX-License-Identifier: Apache-2.0

package awslambda

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"weir.dev/weir/proxy/header"
)

func TestAnswer(t *testing.T) {
	const deep = `{"x":`
	tests := []struct {
		name, text string
		status     string
		fields     string // "name: value" joined by |, those that Lambda itself sends included
		body       string
		err        string
	}{
		{"the seed's", `{"statusCode": 200, "body": "\"hello envoy with lambda. body is x\""}`, "200", "content-type: application/json|x-amzn-requestid: 1", `"hello envoy with lambda. body is x"`, ""},
		{"all of it", `{"status_code":404,"headers":{"Content-Type":"text/html","X-A":"b","x-amzn-requestid":"2"},"cookies":["a=1; Path=/","b=2"],"body":"PGI+","is_base64_encoded":true}`,
			"404", "content-type: text/html|x-amzn-requestid: 2|x-a: b|set-cookie: a=1; Path=/|set-cookie: b=2", "<b>", ""},
		{"in the other style", `{"statusCode":201,"isBase64Encoded":true,"body":"aGk="}`, "201", "content-type: application/json|x-amzn-requestid: 1", "hi", ""},
		{"nothing", `{}`, "200", "content-type: application/json|x-amzn-requestid: 1", "", ""},
		{"null", ` { "statusCode" : null , "headers":null,"cookies":null,"body":null,"isBase64Encoded":null } ` + "\n", "200", "content-type: application/json|x-amzn-requestid: 1", "", ""},
		{"zero", `{"statusCode":0}`, "200", "content-type: application/json|x-amzn-requestid: 1", "", ""},
		{"numbers of other forms", `{"statusCode":"2.04e2"}`, "204", "content-type: application/json|x-amzn-requestid: 1", "", ""},
		{"what is not known", `{"multiValueHeaders":{"a":["b",{"c":[1,-2.5e+3,true,false,null]}]},"x":"\ud83d\ude00","statusCode":202}`, "202", "content-type: application/json|x-amzn-requestid: 1", "", ""},
		{"escapes", `{"body":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000é"}`, "200", "content-type: application/json|x-amzn-requestid: 1", "a\"\\/\b\f\n\r\té😀\x00é", ""},
		{"the last counts", `{"body":"a","body":"b","headers":{"x":"1"},"headers":{"y":"2"},"cookies":["a"],"cookies":["b"]}`, "200", "content-type: application/json|x-amzn-requestid: 1|y: 2|set-cookie: b", "b", ""},
		{"what frames messages stays ours", `{"headers":{":status":"500","Content-Length":"7","transfer-encoding":"chunked","Connection":"close"},"body":"x"}`, "200", "content-type: application/json|x-amzn-requestid: 1", "x", ""},

		{"empty", ``, "", "", "", "an object is wanted"},
		{"not JSON", `hello`, "", "", "", "an object is wanted"},
		{"null itself", `null`, "", "", "", "an object is wanted"},
		{"a list", `[]`, "", "", "", "an object is wanted"},
		{"cut off", `{"body":"a`, "", "", "", "a string does not end"},
		{"cut off in an escape", `{"body":"a\`, "", "", "", "a string does not end"},
		{"more", `{} x`, "", "", "", "something follows"},
		{"no comma", `{"a":1 "b":2}`, "", "", "", "at byte 7: a comma or the end"},
		{"a comma too many", `{"a":1,}`, "", "", "", "the name of a field is wanted"},
		{"an object for the body", `{"body":{"a":1}}`, "", "", "", "at byte 8: a string is wanted"},
		{"a number for a header", `{"headers":{"a":1}}`, "", "", "", "a string is wanted"},
		{"null for a header", `{"headers":{"a":null}}`, "", "", "", "a string is wanted"},
		{"a list of headers", `{"headers":[]}`, "", "", "", "an object is wanted"},
		{"a number for a cookie", `{"cookies":[1]}`, "", "", "", "a string is wanted"},
		{"text for a status", `{"statusCode":"ok"}`, "", "", "", "a value is wanted"},
		{"a fraction", `{"statusCode":200.5}`, "", "", "", "a whole number is wanted"},
		{"a negative status", `{"statusCode":-1}`, "", "", "", "a whole number is wanted"},
		{"a bool as text", `{"isBase64Encoded":"true"}`, "", "", "", "true or false is wanted"},
		{"half a pair", `{"body":"\ud800"}`, "", "", "", "not of a character"},
		{"a line break in a string", "{\"body\":\"\n\"}", "", "", "", "control character"},
		{"not UTF-8", "{\"body\":\"\xff\"}", "", "", "", "not UTF-8"},
		{"not UTF-8 after an escape", "{\"body\":\"\\n\xff\"}", "", "", "", "not UTF-8"},
		{"too deep", strings.Repeat(deep, 200), "", "", "", "nested too deeply"},
		{"a status that is none", `{"statusCode":99}`, "", "", "", "status 99"},
		{"an interim status", `{"statusCode":101}`, "", "", "", "status 101"},
		{"a status too high", `{"statusCode":1000}`, "", "", "", "status 1000"},
		{"a split header", `{"headers":{"a":"b\r\nset-cookie: x"}}`, "", "", "", `header "a" has a control character`},
		{"a header with a space", `{"headers":{"a b":"c"}}`, "", "", "", "cannot be the name"},
		{"a header without a name", `{"headers":{"":"c"}}`, "", "", "", "no name"},
		{"a split cookie", `{"cookies":["a\n"]}`, "", "", "", "cookie has a control character"},
		{"not base64", `{"body":"&","isBase64Encoded":true}`, "", "", "", "not base64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &header.Map{}
			h.Add(header.Status, "200")
			h.Add(header.ContentType, "application/json")
			h.Add(header.NewName("x-amzn-requestid"), "1")
			var a answer
			err := a.parse([]byte(tt.text))
			var body []byte
			if err == nil {
				body, err = a.apply(h)
			}
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var fields []string
			for n, v := range h.All() {
				if !n.IsPseudo() {
					fields = append(fields, n.String()+": "+string(v))
				}
			}
			if got := strings.Join(fields, "|"); got != tt.fields || string(h.Get(header.Status)) != tt.status || string(body) != tt.body {
				t.Errorf("%s %s %q", h.Get(header.Status), got, body)
			}
		})
	}
}

// response is Envoy's message, which protojson reads to compare with.
func response(t testing.TB) protoreflect.MessageType {
	t.Helper()
	field := func(n int32, name string, kind descriptorpb.FieldDescriptorProto_Type, label descriptorpb.FieldDescriptorProto_Label, message string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &n, Type: &kind, Label: &label}
		if message != "" {
			f.TypeName = &message
		}
		return f
	}
	text := func(s string) *string { return &s }
	one, many := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	str := descriptorpb.FieldDescriptorProto_TYPE_STRING
	yes := true
	fd, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: text("r.proto"), Syntax: text("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: text("Response"),
			NestedType: []*descriptorpb.DescriptorProto{{
				Name: text("HeadersEntry"), Options: &descriptorpb.MessageOptions{MapEntry: &yes},
				Field: []*descriptorpb.FieldDescriptorProto{field(1, "key", str, one, ""), field(2, "value", str, one, "")},
			}},
			Field: []*descriptorpb.FieldDescriptorProto{
				field(1, "status_code", descriptorpb.FieldDescriptorProto_TYPE_UINT32, one, ""),
				field(2, "headers", descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, many, ".Response.HeadersEntry"),
				field(3, "cookies", str, many, ""),
				field(4, "body", str, one, ""),
				field(5, "is_base64_encoded", descriptorpb.FieldDescriptorProto_TYPE_BOOL, one, ""),
			},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return dynamicpb.NewMessageType(fd.Messages().ByName("Response"))
}

// FuzzAnswer compares with what protojson reads.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"statusCode":200,"headers":{"a":"b"},"cookies":["c"],"body":"d\u00e9\ud83d\ude00","isBase64Encoded":false}`,
		`{"status_code":"2e2","x":[1,{"y":null}],"is_base64_encoded":true,"body":null}`, `{"statusCode":-0}`, ` {} `, `null`, "{\"body\":\"\xff\"}", `{"a":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	t := response(f)
	fields := t.Descriptor().Fields()
	f.Fuzz(func(tt *testing.T, b []byte) {
		m := t.New()
		theirs := protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 90}.Unmarshal(b, m.Interface())
		var a answer
		ours := a.parse(slices.Clone(b))
		_, _ = a.apply(&header.Map{}) // Must not panic.
		if ours != nil && theirs == nil && json.Valid(b) && !strings.Contains(ours.Error(), "deep") {
			tt.Fatalf("%q is refused: %v", b, ours)
		}
		if ours == nil && theirs != nil {
			if s := theirs.Error(); !strings.Contains(s, "duplicate") && !strings.Contains(s, "depth") {
				tt.Fatalf("%q is taken: %v", b, theirs)
			}
		}
		if ours != nil || theirs != nil {
			return
		}
		a = answer{}
		if err := a.parse(slices.Clone(b)); err != nil {
			tt.Fatal(err)
		}
		get := func(name protoreflect.Name) protoreflect.Value { return m.Get(fields.ByName(name)) }
		headers := map[string]string{}
		for _, p := range a.headers {
			headers[string(p.name)] = string(p.value)
		}
		want := map[string]string{}
		get("headers").Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			want[k.String()] = v.String()
			return true
		})
		if uint64(a.status) != get("status_code").Uint() || string(a.body) != get("body").String() || a.encoded != get("is_base64_encoded").Bool() ||
			len(a.cookies) != get("cookies").List().Len() || !maps.Equal(headers, want) {
			tt.Errorf("%q: %+v, want %v", b, a, m)
		}
	})
}
