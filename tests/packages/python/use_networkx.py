"""networkx: shortest paths, orders, flows, trees, components and layouts of small graphs."""
import networkx as nx

roads = nx.Graph()
roads.add_weighted_edges_from([("a", "b", 4), ("b", "c", 3), ("a", "c", 9), ("c", "d", 1), ("d", "e", 2), ("b", "e", 8), ("x", "y", 1)])
print(nx.dijkstra_path(roads, "a", "e"), nx.shortest_path_length(roads, "a", "e", weight="weight"), nx.has_path(roads, "a", "x"))
print(sorted(map(sorted, nx.connected_components(roads))), sorted(nx.minimum_spanning_edges(roads, data=False)))
tasks = nx.DiGraph([("fetch", "parse"), ("parse", "check"), ("fetch", "log"), ("check", "report"), ("log", "report")])
print(list(nx.lexicographical_topological_sort(tasks)), nx.dag_longest_path(tasks), sorted(nx.ancestors(tasks, "check")))
print([sorted(g) for g in nx.topological_generations(tasks)], nx.is_directed_acyclic_graph(tasks))
tasks.add_edge("report", "fetch")
print(sorted(map(len, nx.simple_cycles(tasks))), len(list(nx.strongly_connected_components(tasks))))
pipes = nx.DiGraph()
for u, v, capacity in [("s", "a", 10), ("s", "b", 5), ("a", "b", 15), ("a", "t", 5), ("b", "t", 10)]:
    pipes.add_edge(u, v, capacity=capacity)
value, flow = nx.maximum_flow(pipes, "s", "t")
print(value, flow["a"], nx.minimum_cut(pipes, "s", "t")[0])
grid = nx.grid_2d_graph(4, 4)
print(grid.number_of_edges(), nx.diameter(grid), nx.is_bipartite(grid), round(nx.average_shortest_path_length(grid), 4))
print({n: round(c, 3) for n, c in sorted(nx.betweenness_centrality(roads).items())}, sorted(d for _, d in nx.karate_club_graph().degree())[-3:])
print(sorted(nx.greedy_color(nx.petersen_graph()).values()), nx.is_isomorphic(nx.cycle_graph(5), nx.complement(nx.cycle_graph(5))))
print(nx.node_link_data(nx.path_graph(3), edges="edges")["edges"], list(nx.generate_gml(nx.path_graph(2)))[:4], nx.to_dict_of_lists(nx.star_graph(3)))
try:
    nx.shortest_path(roads, "a", "x")
except nx.NetworkXNoPath as error:
    print("NoPath", error)
