package ring

import (
	"fmt"
	"testing"
)

func BenchmarkPlacement(b *testing.B) {
	for _, size := range []struct {
		nodes      int
		partitions uint32
	}{{10, 1024}, {100, 4096}, {1000, 16384}} {
		b.Run(fmt.Sprintf("nodes=%d/partitions=%d", size.nodes, size.partitions), func(b *testing.B) {
			settings := testSettings(size.partitions, 3)
			members := testMembers(size.nodes)
			table := formed(b, settings, members).WithMember(2, testMember(size.nodes+1, ""))
			b.Run("preferred", func(b *testing.B) {
				for b.Loop() {
					if _, err := table.PreferredOwners(); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("initial", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Initial(settings, members); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("join", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Plan(table, PlanOptions{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkPartitionOf(b *testing.B) {
	for name, key := range map[string][]byte{
		"plain": []byte("users/42/profile"), "tagged": []byte("{users/42}/profile"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				PartitionOf(key, 1024)
			}
		})
	}
}
