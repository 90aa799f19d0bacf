package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
	"banyan/record"
)

// shardsOf is the output of `banyan shards`.
type shardsOf struct {
	Config   string         `json:"config"`
	Version  uint64         `json:"version"`
	BodySize int64          `json:"body_size"`
	Forms    []formShards   `json:"forms"`
	Regions  []regionShards `json:"regions"`
	Holders  []api.Holder   `json:"holders"`

	all bool // list agents that have the whole version too
}

type formShards struct {
	record.Form
	Stripes int64 `json:"stripes"`
	Shards  int   `json:"shards"` // data and parity
}

// regionShards counts the agents of a region by how much of a version they hold.
type regionShards struct {
	Region string `json:"region"`
	api.Heard
	Whole  int `json:"whole"`  // agents with the whole version
	Part   int `json:"part"`   // agents that are fetching the version
	Cached int `json:"cached"` // agents that keep shards for other hosts only
}

func newShards(a *app) *cobra.Command {
	var (
		number uint64
		wait   time.Duration
		all    bool
	)
	cmd := &cobra.Command{
		Use:   "shards CONFIG",
		Short: "Show the shards of a version, and ask all agents which of them they hold",
		Args:  exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			v, err := client.Version(cmd.Context(), args[0], number)
			if err != nil {
				return err
			}
			holders, err := client.Holders(cmd.Context(), args[0], v.Manifest.Version, wait)
			if err != nil {
				return err
			}
			out := newShardsOf(v, holders)
			out.all = all
			return a.print(out, out.text)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&number, "version", 0, "version `N` to show (default the version stored last)")
	f.DurationVar(&wait, "wait", 3*time.Second, "`TIME` to wait for the answers of agents, at most 30s")
	positive(f, "version", "wait")
	f.BoolVar(&all, "all", false, "list agents that have the whole version too")
	return cmd
}

func newShardsOf(v api.Version, h api.Holders) *shardsOf {
	out := &shardsOf{Config: v.Config, Version: v.Manifest.Version, BodySize: v.BodySize, Holders: h.Holders}
	for _, f := range v.Forms {
		out.Forms = append(out.Forms, formShards{f, f.Geometry.Stripes(f.Size), f.Geometry.Shards(f.Size)})
	}
	for _, region := range slices.Sorted(maps.Keys(h.Regions)) {
		r := regionShards{Region: region, Heard: h.Regions[region]}
		last := ""
		for _, x := range h.Holders {
			if x.Region != region || x.Name == last { // an agent may hold shards of two forms
				continue
			}
			last = x.Name
			switch {
			case x.Whole:
				r.Whole++
			case x.Cached:
				r.Cached++
			default:
				r.Part++
			}
		}
		out.Regions = append(out.Regions, r)
	}
	return out
}

func (s *shardsOf) text(w io.Writer) {
	fmt.Fprintf(w, "%s version %d: %s\n", s.Config, s.Version, quantity.Of(uint64(s.BodySize), "byte"))
	fmt.Fprintln(w, "FORM\tENCODING\tBASE\tSIZE\tSTRIPES\tDATA+PARITY\tSHARD BYTES\tSHARDS")
	for i, f := range s.Forms {
		base := "-"
		if !f.Base.IsZero() {
			base = fmt.Sprint(f.Base.Version)
		}
		g := f.Geometry
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d+%d\t%d\t%d\n",
			i, f.Encoding, base, f.Size, f.Stripes, g.Data, g.Parity, g.ShardBytes, f.Shards)
	}
	fmt.Fprintln(w, "REGION\tAGENTS\tANSWERED\tSUBSCRIBE\tHOLD ALL\tA PART\tKEEP SHARDS FOR OTHERS")
	for _, r := range s.Regions {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n",
			r.Region, r.Agents, r.Heard.Heard, r.Subscribers, r.Whole, r.Part, r.Cached)
	}
	header := "AGENT\tREGION\tHOLDS\tFORM\tFOR\n"
	for _, h := range s.Holders {
		if h.Whole && !s.all {
			continue
		}
		fmt.Fprint(w, header)
		header = ""
		holds, form := "all", "-"
		purpose := "itself"
		if !h.Whole {
			holds, form = fmt.Sprintf("%d/%d shards", h.Shards, h.Of), fmt.Sprint(h.Form)
		}
		if h.Cached {
			purpose = "others"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Name, h.Region, holds, form, purpose)
	}
}
