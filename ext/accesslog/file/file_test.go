// SPDX-License-Identifier: Apache-2.0

package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/accesslog/logfile"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t *testing.T, in string) *anypb.Any {
	t.Helper()
	m := &filev3.FileAccessLog{}
	if err := protojson.Unmarshal([]byte(in), m); err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestFormats(t *testing.T) {
	const fallback = `[-] "- - -" 204 - 0 0 0 - "-" "-" "-" "-" "-"` + "\n"
	tests := []struct{ in, want string }{
		{`"path": "P"`, fallback},
		{`"path": "P", "format": ""`, fallback},
		{`"path": "P", "format": "%RESPONSE_CODE% %ACCESS_LOG_TYPE%\n"`, "204 DownstreamEnd\n"},
		{`"path": "P", "json_format": {"c": "%RESPONSE_CODE%", "r": "%ROUTE_NAME%"}`, `{"c":"204","r":"-"}` + "\n"},
		{`"path": "P", "typed_json_format": {"c": "%RESPONSE_CODE%", "r": "%ROUTE_NAME%"}`, `{"c":204,"r":null}` + "\n"},
		{`"path": "P", "log_format": {"text_format_source": {"inline_string": "%ROUTE_NAME%|"}, "omit_empty_values": true}`, "|"},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "log")
		files := logfile.NewSet(logfile.Options{})
		sink, err := New(files, &format.Loader{})(config(t, "{"+strings.Replace(tt.in, `"P"`, `"`+path+`"`, 1)+"}"))
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		sink.Log(0, &streaminfo.Stream{Status: 204}, accesslog.DownstreamEnd)
		if err := files.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != tt.want {
			t.Errorf("%s:\n got %q, %v\nwant %q", tt.in, got, err, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	files := logfile.NewSet(logfile.Options{})
	defer files.Close(t.Context())
	tests := []struct{ in, want string }{
		{`{}`, "path: the field is required"},
		{`{"path": "` + dir + `/none/log"}`, "path: open access log: "},
		{`{"path": "` + dir + `/a", "format": "%RESPONSE_COD%"}`, "format: "},
		{`{"path": "` + dir + `/a", "json_format": {"a": "%X%"}}`, "json_format: json_format.a: "},
		{`{"path": "` + dir + `/a", "typed_json_format": {"a": null}}`, "typed_json_format: json_format.a"},
		{`{"path": "` + dir + `/a", "log_format": {}}`, "log_format: format: one of"},
	}
	for _, tt := range tests {
		if _, err := New(files, &format.Loader{})(config(t, tt.in)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.in, err, tt.want)
		}
	}
	if _, err := os.Stat(dir + "/a"); err == nil {
		t.Error("a file was created for a log that was refused")
	}
	if _, err := New(files, &format.Loader{})(&anypb.Any{TypeUrl: "x/y"}); err == nil {
		t.Error("another message was taken")
	}
}

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &filev3.FileAccessLog{})
	if got := (&filev3.FileAccessLog{}).ProtoReflect().Descriptor().FullName(); string(got) != Message {
		t.Errorf("Message is not %s", got)
	}
}
