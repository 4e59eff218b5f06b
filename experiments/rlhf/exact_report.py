def write(out, runs):
    print(len(runs))
