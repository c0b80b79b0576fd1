// SPDX-License-Identifier: Apache-2.0

package build

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// A LogFormat is how a record of an access log is written: Text, or Fields as JSON, whose
// values are texts with Strings, and else numbers, too.
type LogFormat struct {
	Text    string
	Fields  map[string]string
	Strings bool
}

// members are the fields as JSON.
func (f LogFormat) members() *structpb.Struct {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for name, v := range f.Fields {
		out.Fields[name] = structpb.NewStringValue(v)
	}
	return out
}

// message is nil for Envoy's own format.
func (f LogFormat) message() *corev3.SubstitutionFormatString {
	if len(f.Fields) > 0 {
		return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: f.members()}}
	}
	if f.Text == "" {
		return nil
	}
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
		TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: strings.TrimSuffix(f.Text, "\n") + "\n"}},
	}}
}

// FileLog writes records to a file, if all expressions of CEL are true of them.
func FileLog(path string, format LogFormat, matches []string) *accesslogv3.AccessLog {
	m := &filev3.FileAccessLog{Path: path}
	if format.Strings && len(format.Fields) > 0 {
		m.AccessLogFormat = &filev3.FileAccessLog_JsonFormat{JsonFormat: format.members()} //nolint:staticcheck // It alone makes texts of all values.
	} else if f := format.message(); f != nil {
		m.AccessLogFormat = &filev3.FileAccessLog_LogFormat{LogFormat: f}
	}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: Any(m)}, Filter: celFilter(matches),
	}
}

func celFilter(matches []string) *accesslogv3.AccessLogFilter {
	var list []*accesslogv3.AccessLogFilter
	for _, expression := range matches {
		list = append(list, &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
			ExtensionFilter: &accesslogv3.ExtensionFilter{
				Name:       "envoy.access_loggers.extension_filters.cel",
				ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: Any(&celv3.ExpressionFilter{Expression: expression})},
			},
		}})
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{Filters: list}}}
}
