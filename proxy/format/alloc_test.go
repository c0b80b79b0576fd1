// SPDX-License-Identifier: Apache-2.0

//go:build !race

package format

import "testing"

func TestNoAllocations(t *testing.T) {
	s := stream()
	text := func(in string) *Format {
		f, err := Compile(in, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	formats := map[string]*Format{
		"default": text(Default),
		"operators": text("%START_TIME(%d/%b/%Y:%H:%M:%S %z)% %PATH(NQ)% %QUERY_PARAM(x)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)% " +
			"%GRPC_STATUS% %DYNAMIC_METADATA(com.test)% %FILTER_STATE(s)% %FILTER_STATE(o)% %UNIQUE_ID% %COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)% " +
			"%UPSTREAM_HOSTS_ATTEMPTED% %REQUESTED_SERVER_NAME(HOST_FIRST)% %RESPONSE_CODE_DETAILS% %START_TIME_LOCAL% %METADATA(ROUTE:com.test:route)%"),
		"json": everything(t, testOptions()),
	}
	buf := make([]byte, 0, 8192)
	for name, f := range formats {
		if n := testing.AllocsPerRun(100, func() { buf = f.AppendTo(buf[:0], s) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDefault(b *testing.B) {
	f, err := Compile(Default, testOptions())
	if err != nil {
		b.Fatal(err)
	}
	s, buf := stream(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = f.AppendTo(buf[:0], s)
	}
}
