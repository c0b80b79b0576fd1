// SPDX-License-Identifier: Apache-2.0

//go:build race

package upstream_test

const raceEnabled = true
