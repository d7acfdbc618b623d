# A job for the Ruby interpreter: statistics of every CSV file in /input.
#
# For each column that holds only numbers it prints count, sum, mean, median,
# standard deviation, least and greatest; for each other column, its most
# frequent values. The same table goes to /output/statistics.tsv.
#
# Only the core library is used: the interpreter is built without the standard
# one, so that the component stays half as large.

LONGEST_TABLE = 1_000_000 # rows; above it the enclave's memory would be the limit

# Splits one line of RFC 4180 text; a quoted field may hold commas and "" pairs,
# but not a line feed.
def fields(line)
  line.chomp.scan(/\G(?:"((?:[^"]|"")*)"|([^,"]*))(?:,|\z)/).map do |quoted, plain|
    quoted ? quoted.gsub('""', '"') : plain
  end.tap { |row| row.pop if row.size > 1 && row.last == "" && !line.chomp.end_with?(",") }
end

def table(path)
  header, *rows = File.foreach(path, encoding: "UTF-8").first(LONGEST_TABLE + 2).map { |line| fields(line) }
  abort "#{path}: no header" unless header
  abort "#{path}: more than #{LONGEST_TABLE} rows" if rows.size > LONGEST_TABLE
  rows.each_with_index do |row, index|
    abort "#{path}: line #{index + 2} has #{row.size} fields, the header #{header.size}" unless row.size == header.size
  end
  [header, rows]
end

def numbers(column)
  column.map { |field| Float(field, exception: false) || (return nil) }
end

def describe(values)
  sorted = values.sort
  count = values.size
  mean = values.sum / count
  middle = count.odd? ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2
  deviation = Math.sqrt(values.sum { |value| (value - mean)**2 } / count)
  { count:, sum: values.sum, mean:, median: middle, deviation:, least: sorted.first, greatest: sorted.last }
end

paths = Dir.children("/input").select { |name| name.end_with?(".csv") }.sort.map { |name| "/input/#{name}" }
abort "no .csv file in /input" if paths.empty?

lines = paths.flat_map do |path|
  header, rows = table(path)
  header.zip(rows.transpose).map do |name, column|
    if column.nil?
      [File.basename(path), name, "empty"]
    elsif (values = numbers(column))
      [File.basename(path), name, *describe(values).map { |key, value| "#{key}=#{value.is_a?(Float) ? value.round(3) : value}" }]
    else
      [File.basename(path), name, *column.tally.sort_by { |value, count| [-count, value] }.first(3).map { |value, count| "#{value}=#{count}" }]
    end
  end
end

report = lines.map { |line| line.join("\t") + "\n" }.join
print report
File.write("/output/statistics.tsv", report) if Dir.exist?("/output")
