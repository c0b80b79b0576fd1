// SPDX-License-Identifier: Apache-2.0

//go:build !race

package hcm_test

const raceEnabled = false
