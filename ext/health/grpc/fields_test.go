// SPDX-License-Identifier: Apache-2.0

package grpc

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &corev3.HealthCheck_GrpcHealthCheck{}) }
